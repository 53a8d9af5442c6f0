/** Links to what pages speak of; plain text where there is no page, or nobody may open it. */
import type { ReactNode } from "react";
import { Link } from "react-router";
import { part } from "../api";
import { entries } from "../pages";
import { useWho } from "../session";

/** A link to the page of an entry, such as `syncs/:name`, for one name. */
export function PageLink({ to, name, children }: { to: string; name: string; children?: ReactNode }) {
  const { may } = useWho();
  const entry = entries.find((one) => one.path === `${to}/:name`);
  return entry && may(entry) ? <Link to={`/${to}/${part(name)}`}>{children ?? name}</Link> : <>{children ?? name}</>;
}

/** A link to an asset of the catalogue, by the name that `/v1/assets` knows. */
export const AssetLink = ({ name }: { name: string }) => <PageLink to="catalogue" name={name}><code>{name}</code></PageLink>;
