/** What programs and pages said of a policy's decisions, and what became of it; nothing where they said nothing. */
import { useQuery } from "@tanstack/react-query";
import { call, type Table } from "../../api";
import { useWords } from "../../i18n";
import { Card, Grid, Trust } from "../../ui/basics";
import own from "./words";

/** What is told of a decision that nobody knows is of no policy. */
const reportedSql = (name: string) => {
  const of = `policy = '${name.replaceAll("'", "''")}'`;
  return `select 'outcome' as kind, status, count(*) as n, max(arrived_at) as newest from system.reported_outcomes where ${of} group by status
union all select 'exposure', status, count(*), max(arrived_at) from system.exposures where ${of} group by status order by kind desc, n desc`;
};

export function Reported({ name }: { name: string }) {
  const { t, n, moment, word } = useWords(own);
  const sql = reportedSql(name);
  const told = useQuery<Table>({ queryKey: [`/v1/policies/${name}/reported`], queryFn: ({ signal }) => call<Table>("POST", "/v1/sql", { sql, limit: 100 }, signal) });
  if (!told.data?.rows.length) return null;
  return (
    <Card title={t("told")} extra={<Trust read={told.dataUpdatedAt} sql={sql} />} className="after-columns">
      <p className="quiet small">{t("told.text")}</p>
      <Grid
        rows={told.data.rows} rowKey={(row) => `${String(row[0])} ${String(row[1])}`} label={t("told")} tight
        columns={[
          { key: "kind", title: t("told.kind"), cell: (row) => word("told", String(row[0])) },
          { key: "status", title: t("told.status"), cell: (row) => word("told", String(row[1])) },
          { key: "n", title: t("told.n"), number: true, cell: (row) => n(Number(row[2])) },
          { key: "newest", title: t("told.newest"), cell: (row) => moment(String(row[3])) },
        ]}
      />
    </Card>
  );
}
