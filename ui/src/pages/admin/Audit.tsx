/** Who did what, and the proof that nothing of it was changed. */
import { Button } from "antd";
import { useInfiniteQuery } from "@tanstack/react-query";
import { call, useDo } from "../../api";
import { useWords } from "../../i18n";
import { Ask, Card, Code, Empty, Grid, Rich, Status, Trouble, Trust } from "../../ui/basics";
import { Erasures } from "./Erasures";
import own from "./words";

interface Entry { number: number; at: string; who: string; what: string; object: string; detail: { status?: number; more?: unknown } | null; digest: string }
interface Piece { items: Entry[]; next: number | null }
interface Proof { ok: boolean; entries?: number; number?: number; detail?: string; passed?: number[] }

const PAGE = 100;

export function Audit() {
  const { t, n, moment } = useWords(own);
  const verify = useDo<Proof>(() => ["GET", "/v1/audit/verify"]);
  const trail = useInfiniteQuery<Piece, Error>({
    queryKey: ["/v1/audit", "pages"],
    queryFn: ({ pageParam, signal }) => call<Piece>("GET", `/v1/audit?limit=${PAGE}${pageParam ? `&before=${String(pageParam)}` : ""}`, undefined, signal),
    initialPageParam: null, getNextPageParam: (last) => last.next,
  });
  return (
    <>
      <Card title={t("audit.proof")} extra={<><Button size="small" type="primary" loading={verify.isPending} onClick={() => verify.mutate()}>{t("audit.verify")}</Button><Trust read={trail.dataUpdatedAt} route="GET /v1/audit/verify" /></>}>
        <p className="quiet">{t("audit.text")}</p>
        <div aria-live="polite">
          {verify.data && <p className="admin-proof"><Status of={verify.data.ok ? "ok" : "failed"} />{verify.data.ok ? t("audit.ok", { count: n(verify.data.entries) }) : t("audit.bad", { number: n(verify.data.number), detail: verify.data.detail ?? "" })}</p>}
          {verify.data?.passed?.length ? <p className="admin-proof"><Status of="attention" />{t("audit.passed", { numbers: verify.data.passed.map((number) => n(number)).join(", ") })}</p> : null}
        </div>
        {verify.error && <Trouble error={verify.error} />}
        <p className="quiet small" style={{ marginTop: 8 }}><Rich text={t("audit.command")} /></p>
      </Card>
      <Card flush title={t("tab.audit")} extra={<Trust read={trail.dataUpdatedAt} route="GET /v1/audit" />}>
        <Ask of={{ data: trail.data, error: trail.error, isPending: trail.isPending, refetch: trail.refetch }}>
          {({ pages }) => (
            <>
              <Grid
                rows={pages.flatMap((page) => page.items)} rowKey={(entry) => String(entry.number)} label={t("tab.audit")} page={PAGE * 20} empty={<Empty icon="info" text={t("audit.empty")} />}
                columns={[
                  { key: "number", title: t("f.number"), number: true, cell: (entry) => n(entry.number), by: (entry) => entry.number },
                  { key: "at", title: t("f.at"), cell: (entry) => moment(entry.at), by: (entry) => entry.at },
                  { key: "who", title: t("audit.who"), cell: (entry) => <b>{entry.who}</b>, by: (entry) => entry.who },
                  { key: "what", title: t("audit.what"), cell: (entry) => <code>{entry.what}</code>, by: (entry) => entry.what },
                  { key: "object", title: t("audit.object"), wrap: true, cell: (entry) => <code className="quiet">{entry.object}</code>, by: (entry) => entry.object },
                  { key: "result", title: t("audit.result"), cell: (entry) => (entry.detail?.status === undefined ? "–" : <Status of={entry.detail.status < 400 ? "ok" : "failed"} label={String(entry.detail.status)} />), by: (entry) => entry.detail?.status },
                  { key: "more", title: t("audit.detail"), cell: (entry) => entry.detail?.more ? <details className="declared"><summary>{t("audit.detail")}</summary><Code text={JSON.stringify(entry.detail.more, null, 2)} max={200} /></details> : null },
                  { key: "digest", title: t("audit.digest"), cell: (entry) => <code className="quiet small" title={entry.digest}>{entry.digest.slice(0, 12)}</code> },
                ]}
              />
              {trail.hasNextPage && <p className="grid-more"><Button type="text" loading={trail.isFetchingNextPage} onClick={() => void trail.fetchNextPage()}>{t("audit.more")}</Button></p>}
            </>
          )}
        </Ask>
      </Card>
      <Erasures />
    </>
  );
}
