//! The `sign_in:` of `flywheel.yaml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::rule::Role;

/// Where a provider sends browsers back to, below the server's `address`.
pub const CALLBACK_PATH: &str = "/v1/sign-in/callback";

/// Signing in with the company's identity provider, by OpenID Connect: Keycloak, Entra ID, Okta, Authing and others. The
/// server is registered there with the redirect address `ADDRESS/v1/sign-in/callback`. A provider that is down stops
/// neither the server nor signing in with a password.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// What people call the provider: the button says "Sign in with NAME".
    #[schemars(length(min = 1))]
    pub name: String,
    /// The provider's issuer, letter by letter as its `/.well-known/openid-configuration` has it:
    /// `https://id.example.com/realms/main`. Plain http only on this machine.
    pub issuer: String,
    /// The id under which the provider knows this server.
    #[schemars(length(min = 1))]
    pub client_id: String,
    /// The secret that belongs to the id, as a reference such as `${env:SIGN_IN_SECRET}`; none for a public client. It is
    /// read at each sign-in, so a new one needs no restart.
    #[serde(default)]
    pub client_secret: Option<String>,
    /// Where browsers reach this server: `https://flywheel.example.com`, without a path. Plain http only on this machine.
    pub address: String,
    /// What is asked for beside `openid`.
    #[serde(default = "scopes_default")]
    pub scopes: Vec<String>,
    /// The claim that becomes the user's name at the first sign-in. Rules and groups go by this name, so it must be one that
    /// people cannot choose themselves.
    #[serde(default = "user_default")]
    pub user: String,
    /// Which role somebody has. It is decided anew at each sign-in, over what an admin chose in between.
    #[serde(default)]
    pub roles: SignInRoles,
    /// The claim that lists the provider's groups for `provider_groups` of our `groups`; that of `roles` if absent.
    #[serde(default)]
    pub groups: Option<String>,
    /// Who may sign in with a name and a password of this server: `yes`, everybody who has one, or `owner-only`.
    #[serde(default)]
    pub local: LocalSignIn,
}

/// Which role somebody has who signs in with the provider.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInRoles {
    /// The claim that is looked at, a text or a list of texts: `groups`, or `realm_access.roles` for one within another.
    #[serde(default = "groups_claim")]
    pub from: String,
    /// The role for each of its texts: `{data-team: engineer}`. Of several that fit, the one with the most rights holds:
    /// owner, admin, engineer, analyst, operator, viewer, agent.
    #[serde(default)]
    pub map: BTreeMap<String, Role>,
    /// What somebody is whom `map` does not name: a `viewer`, or `none`, who is not let in.
    #[serde(default)]
    pub default: RoleOfOthers,
}

/// What somebody is to whom no entry of a map applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RoleOfOthers {
    /// Not let in.
    #[default]
    None,
    /// A viewer.
    Viewer,
}

/// Who may sign in with a password of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LocalSignIn {
    /// Everybody who has one.
    #[default]
    Yes,
    /// Owners, for the day on which the provider is down.
    OwnerOnly,
}

impl LocalSignIn {
    /// The word in files and in the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::OwnerOnly => "owner-only",
        }
    }
}

impl Default for SignInRoles {
    fn default() -> Self {
        Self { from: groups_claim(), map: BTreeMap::new(), default: RoleOfOthers::default() }
    }
}

impl SignInRoles {
    /// The role of somebody with these texts in the claim; none if they are not let in.
    #[must_use]
    pub fn role(&self, texts: &[String]) -> Option<Role> {
        let mapped = texts.iter().filter_map(|text| self.map.get(text)).min().copied();
        mapped.or(match self.default {
            RoleOfOthers::None => None,
            RoleOfOthers::Viewer => Some(Role::Viewer),
        })
    }
}

impl SignIn {
    /// Where the provider sends browsers back to.
    #[must_use]
    pub fn callback(&self) -> String {
        format!("{}{CALLBACK_PATH}", self.address.trim_end_matches('/'))
    }

    /// The claim that lists the provider's groups.
    #[must_use]
    pub fn groups_claim(&self) -> &str {
        self.groups.as_deref().unwrap_or(&self.roles.from)
    }
}

fn scopes_default() -> Vec<String> {
    ["profile", "email"].map(str::to_owned).to_vec()
}

fn user_default() -> String {
    "preferred_username".to_owned()
}

fn groups_claim() -> String {
    "groups".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_with_the_most_rights_holds_and_others_are_as_declared() {
        let map = [("data", Role::Engineer), ("all", Role::Viewer), ("it", Role::Admin)];
        let map = map.into_iter().map(|(group, role)| (group.to_owned(), role)).collect();
        let mut roles = SignInRoles { map, ..SignInRoles::default() };
        let role = |roles: &SignInRoles, groups: &[&str]| {
            roles.role(&groups.iter().map(|group| (*group).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(role(&roles, &["all", "it", "data"]), Some(Role::Admin));
        assert_eq!(role(&roles, &["data", "all"]), Some(Role::Engineer));
        assert_eq!(role(&roles, &["Data"]), None, "groups are compared letter by letter");
        roles.default = RoleOfOthers::Viewer;
        assert_eq!(role(&roles, &[]), Some(Role::Viewer));
    }
}
