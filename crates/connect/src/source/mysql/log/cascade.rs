//! Foreign keys by which the server changes rows by itself. InnoDB does that below the log, which has
//! nothing of it.

use flywheel_base::{ErrorKind, Result};

use crate::source::mysql::connection::Connection;

/// A foreign key whose changes are not in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cascade {
    /// Its name.
    pub(super) name: String,
    /// The table that it refers to.
    pub(super) parent: String,
}

/// Those of a table; `from` is its quoted name.
pub(super) async fn cascades(connection: &mut Connection, from: &str) -> Result<Vec<Cascade>> {
    // The views about constraints hide them from users who may only read.
    let sql = format!("SHOW CREATE TABLE {from}");
    let found: Option<(String, String)> = match connection.first(&sql, ()).await {
        // Who may read only some of the columns may not see this, but can follow the table.
        Err(error) if error.kind() == ErrorKind::Denied => return Ok(Vec::new()),
        found => found?,
    };
    Ok(found.map_or_else(Vec::new, |(_, made)| listed(&made)))
}

/// Those in the statement that makes a table.
fn listed(made: &str) -> Vec<Cascade> {
    made.lines().filter_map(cascade).collect()
}

fn cascade(line: &str) -> Option<Cascade> {
    let (name, rest) = line.trim().strip_prefix("CONSTRAINT ")?.split_once(" FOREIGN KEY ")?;
    let (_, rest) = rest.split_once(" REFERENCES ")?;
    let (parent, rest) = rest.split_once(" (")?;
    let (_, rules) = rest.rsplit_once(')')?;
    let acts = rules.contains(" CASCADE") || rules.contains(" SET NULL");
    let bare = |name: &str| name.replace(['`', '"'], "");
    acts.then(|| Cascade { name: bare(name), parent: bare(parent) })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::source::mysql::connection::{Purpose, Server};
    use crate::source::mysql::tests::{connection, database, server};

    #[tokio::test]
    async fn a_user_who_may_read_only_some_columns_is_told_of_none() {
        let name = database(
            "CREATE TABLE p (id INT PRIMARY KEY);
             CREATE TABLE t (id INT PRIMARY KEY, p INT, CONSTRAINT belongs FOREIGN KEY (p)
                 REFERENCES p (id) ON DELETE CASCADE)",
        );
        let user = format!("columns_{name}");
        server().sql(
            &name,
            &format!(
                "CREATE USER {user}@'127.0.0.1' IDENTIFIED BY 'x';
                 GRANT SELECT (id) ON t TO {user}@'127.0.0.1'"
            ),
        );
        let mut settings = connection(server(), &name);
        for (user, password, found) in [
            (flywheel_testkit::MariaDb::USER, flywheel_testkit::MariaDb::PASSWORD, 1),
            (user.as_str(), "x", 0),
        ] {
            settings["user"] = user.into();
            settings["password"] = password.into();
            let settings = serde_json::from_value(settings.clone()).unwrap();
            let server = Server::new(&settings, Path::new("."), Purpose::Read).unwrap();
            let mut connection = server.connect().await.unwrap();
            assert_eq!(cascades(&mut connection, "`t`").await.unwrap().len(), found, "{user}");
        }
    }

    #[test]
    fn foreign_keys_by_which_the_server_acts_are_found() {
        let made = "CREATE TABLE `c` (
  `id` int(11) NOT NULL COMMENT 'ON DELETE CASCADE',
  PRIMARY KEY (`id`),
  CONSTRAINT `a` FOREIGN KEY (`p`, `q`) REFERENCES `p` (`id`, `q`) ON DELETE CASCADE,
  CONSTRAINT `b` FOREIGN KEY (`p`) REFERENCES `other`.`p` (`id`) ON UPDATE SET NULL,
  CONSTRAINT `c` FOREIGN KEY (`p`) REFERENCES `CASCADE` (`id`) ON DELETE NO ACTION,
  CONSTRAINT `d` CHECK (`p` > 0)
) ENGINE=InnoDB";
        let found: Vec<(String, String)> =
            listed(made).into_iter().map(|one| (one.name, one.parent)).collect();
        let expected = [("a", "p"), ("b", "other.p")];
        assert_eq!(found, expected.map(|(name, parent)| (name.to_owned(), parent.to_owned())));
    }
}
