/** Whether landed tables still equal the database they came from, and what to do about it if not. */
import { App, Button } from "antd";
import { Link } from "react-router";
import { part, useDo, type Sync, type Task, type Work } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Card, Chip, Empty, Grid, Status, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { Asked } from "./parts";
import own from "./words";

interface Found { keys?: number; ranges?: number; mended?: number; table?: string; skipped?: string[] }
const foundOf = (task: Task | null): Found => (task?.detail && typeof task.detail === "object" ? (task.detail as Found) : {});

/** Keys and ranges of keys that differ; nothing is known of a comparison that failed. */
export function differs(task: Task | null): number | null {
  const found = foundOf(task);
  return found.keys === undefined ? null : found.keys + (found.ranges ?? 0);
}

export function Compare({ one, read }: { one: Sync; read: number }) {
  const { t, n, ago, moment } = useWords(own);
  const { can } = useWho();
  const { modal } = App.useApp();
  const run = useDo<Work, boolean>((repair) => ["POST", `/v1/syncs/${part(one.name)}/reconcile`, { repair }]);
  const rows = one.compared ?? [];
  const any = rows.some((row) => row.why_not === null);
  const repair = () => modal.confirm({ title: t("compare.repair"), content: t("compare.repair.text"), okText: t("compare.repair"), cancelText: t("f.cancel"), onOk: () => run.mutate(true) });
  if (!any) return <Card><Empty icon="info" text={t("compare.cannot")} /></Card>;
  return (
    <>
      {run.error && <Trouble error={run.error} />}
      {run.data && <Asked work={run.data} />}
      <Card
        flush title={t("tab.compare")}
        extra={<>
          {can("operate") && <Button size="small" icon={<Icon name="play" size={12} />} loading={run.isPending && run.variables === false} onClick={() => run.mutate(false)}>{t("compare")}</Button>}
          {can("operate") && <Button size="small" loading={run.isPending && run.variables === true} onClick={repair}>{t("compare.repair")}</Button>}
          <Trust read={read} sql={`select * from system.tasks where kind = 'reconcile' and starts_with(name, '${one.name.replaceAll("'", "''")}.') order by started_at desc`} />
        </>}
      >
        <p className="syncs-about">{t("compare.text")}</p>
        <Grid
          rows={rows} rowKey={(row) => row.stream} label={t("tab.compare")}
          columns={[
            { key: "stream", title: t("stream"), cell: (row) => <code>{row.stream}</code>, by: (row) => row.stream },
            { key: "status", title: t("f.status"), cell: (row) => (row.why_not ? <span className="quiet">{t("compare.not")}</span> : row.last ? <Status of={row.last.status} label={differs(row.last) === 0 ? t("compare.equal") : differs(row.last) === null ? undefined : t("compare.differs")} /> : <span className="quiet">{t("compare.never")}</span>), by: (row) => row.last?.status },
            { key: "differ", title: t("compare.keys"), number: true, cell: (row) => { const count = differs(row.last); return count === null ? "–" : count ? <Link className="warn" to={`/runs/${part(row.last?.run_id ?? "")}`}>{n(count)}</Link> : n(0); }, by: (row) => differs(row.last) },
            { key: "source", title: t("compare.source"), number: true, cell: (row) => (row.last ? n(row.last.rows_in) : "–"), by: (row) => row.last?.rows_in },
            { key: "lake", title: t("compare.lake"), number: true, cell: (row) => (row.last ? n(row.last.rows_out) : "–"), by: (row) => row.last?.rows_out },
            { key: "mended", title: t("compare.mended"), number: true, cell: (row) => (row.last ? n(foundOf(row.last).mended) : "–"), by: (row) => foundOf(row.last).mended },
            { key: "skipped", title: t("compare.skipped"), wrap: true, cell: (row) => (foundOf(row.last).skipped ?? []).map((column) => <Chip key={column}>{column}</Chip>) },
            { key: "when", title: t("last"), cell: (row) => (row.last ? <Link to={`/runs/${part(row.last.run_id ?? "")}`} title={moment(row.last.started_at)}>{ago(row.last.started_at)}</Link> : "–"), by: (row) => row.last?.started_at },
            { key: "error", title: t("f.error"), wrap: true, cell: (row) => row.last?.error && <span className="bad">{row.last.error}</span> },
          ]}
        />
      </Card>
    </>
  );
}
