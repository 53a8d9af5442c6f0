/** What is declared in files of a kind, each with a link to its file. */
import { Link } from "react-router";
import { part } from "../../api";
import { useWords } from "../../i18n";
import { Card, Empty, Grid, Trust } from "../../ui/basics";
import { New } from "./buttons";
import type { Kind } from "./kinds";
import own from "./words";

export interface Listing { kinds: string[]; items: { kind: Kind; name: string; file: string }[] }

export function Listed({ kind, of, read, route }: { kind: Kind; of: Listing; read: number; route: string }) {
  const { t } = useWords(own);
  const these = of.items.filter((one) => one.kind === kind);
  return (
    <Card flush={these.length > 0} title={t(`kinds.${kind}`)} extra={<><New kind={kind} /><Trust read={read} route={route} /></>}>
      {these.length === 0 ? <Empty icon="edit" text={t(`about.${kind}`)} /> : (
        <Grid
          rows={these} rowKey={(one) => one.name} label={t(`kinds.${kind}`)} first={{ key: "name" }} page={8}
          columns={[
            { key: "name", title: t("f.name"), cell: (one) => <Link to={`/files/${kind}/${part(one.name)}`}><b>{one.name}</b></Link>, by: (one) => one.name },
            { key: "file", title: t("f.file"), cell: (one) => <code className="quiet">{one.file}</code>, by: (one) => one.file },
          ]}
        />
      )}
    </Card>
  );
}
