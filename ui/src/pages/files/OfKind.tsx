/** The files of one kind, on a page of something else; nothing for who may not change them. */
import { useGet } from "../../api";
import { useWho } from "../../session";
import { mayDeclare, type Kind } from "./kinds";
import { Listed, type Listing } from "./Listed";

export function OfKind({ kind }: { kind: Kind }) {
  const { can, has } = useWho();
  // All that may be changed is asked for, which refuses nobody.
  const files = useGet<Listing>(has("files") && mayDeclare(can, kind) ? "/v1/files" : null);
  return files.data?.kinds.includes(kind) ? <Listed kind={kind} of={files.data} read={files.dataUpdatedAt} route="GET /v1/files" /> : null;
}
