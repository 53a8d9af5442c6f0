/** What somebody may ask for, what they asked for, and what waits for their decision. */
import { App, Button, Modal } from "antd";
import { useState } from "react";
import { useSearchParams } from "react-router";
import { waiting, useRequests, type Request, type Requests } from "../../access";
import { part, useDo } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Choice, Empty, Grid, Page, Pick, Status, Trouble, Trust, type GridColumn } from "../../ui/basics";
import "./style.css";
import own from "./words";

const DAYS = ["1", "7", "30", "90", ""] as const;
type Days = (typeof DAYS)[number];
const number = (days: Days) => (days === "" ? undefined : Number(days));
/** The nearest of the choices that is not shorter than what was asked for. */
export const atLeast = (days: number | null): Days => DAYS.find((choice) => days !== null && choice !== "" && Number(choice) >= days) ?? "";

export default function Access() {
  const { t } = useWords(own);
  const { can, me } = useWho();
  const requests = useRequests();
  return (
    <Page title={t("title")} text={t("text")}>
      <Ask of={requests} lines={8}>
        {(data) => {
          const mine = data.items.filter((one) => one.user === me.name);
          const { news } = waiting(data.items, me);
          return (
            <>
              {news.length > 0 && <News of={news} />}
              {can("administer") && <Queue items={data.items.filter((one) => one.status === "open")} read={requests.dataUpdatedAt} />}
              <Form askable={data.askable} />
              <Listed title={t("mine")} empty={t("mine.empty")} items={mine} read={requests.dataUpdatedAt} />
              {can("administer") && <Listed title={t("others")} empty={t("others.empty")} items={data.items.filter((one) => one.status !== "open" && one.user !== me.name)} read={requests.dataUpdatedAt} />}
            </>
          );
        }}
      </Ask>
    </Page>
  );
}

function News({ of }: { of: Request[] }) {
  const { t, day } = useWords(own);
  const seen = useDo<unknown, string>((id) => ["POST", `/v1/access-requests/${part(id)}/seen`, {}]);
  return (
    <section className="access-news" aria-live="polite">
      {of.map((one) => (
        <div key={one.id}>
          <p><b>{t(`news.${one.status === "open" || one.status === "withdrawn" ? "ended" : one.status}`, { what: one.what })}</b> · {one.decided_by && t("by", { who: one.decided_by })}{one.until && <> · {t("until")} {day(one.until)}</>}</p>
          {one.answer && <p className="access-why">{one.answer}</p>}
          <Button size="small" onClick={() => seen.mutate(one.id)}>{t("news.read")}</Button>
        </div>
      ))}
      {seen.error && <Trouble error={seen.error} />}
    </section>
  );
}

function Form({ askable }: { askable: Requests["askable"] }) {
  const { t } = useWords(own);
  const [search] = useSearchParams();
  const all = [
    ...askable.permissions.map((what) => ({ key: `permission:${what}`, label: t("ask.permission", { what }) })),
    ...askable.rules.map(({ rule }) => ({ key: `rule:${rule}`, label: t("ask.rule", { what: rule }) })),
    ...askable.grants.map(({ grant }) => ({ key: `grant:${grant}`, label: t("ask.grant", { what: grant }) })),
  ];
  const wanted = `permission:${search.get("what") ?? ""}`;
  const [chosen, setChosen] = useState(wanted);
  const [reason, setReason] = useState("");
  const [days, setDays] = useState<Days>("7");
  // What was chosen may have been given meanwhile.
  const what = all.some((one) => one.key === chosen) ? chosen : (all[0]?.key ?? "");
  const [kind = "", name = ""] = [what.slice(0, what.indexOf(":")), what.slice(what.indexOf(":") + 1)];
  const rule = kind === "rule" ? askable.rules.find((one) => one.rule === name) : undefined;
  const grant = kind === "grant" ? askable.grants.find((one) => one.grant === name) : undefined;
  const ask = useDo<Request>(() => ["POST", "/v1/access-requests", { kind, what: name, reason: reason.trim(), days: number(days) }], () => setReason(""));
  return (
    <Card title={t("ask")}>
      {all.length === 0 ? <Empty icon="check" text={t("ask.nothing")} /> : (
        <form className="access-ask" onSubmit={(event) => { event.preventDefault(); if (reason.trim() && !ask.isPending) ask.mutate(); }}>
          <Pick label={t("ask.what")} value={what} choose={setChosen} of={all} />
          <div className="field"><span>{t("ask.days")}</span><Choice label={t("ask.days")} value={days} choose={setDays} of={DAYS.map((key) => ({ key, label: key === "" ? t("days.good") : t("days.count", { count: key }) }))} /></div>
          <Button type="primary" htmlType="submit" loading={ask.isPending} disabled={!reason.trim()}>{t("ask.send")}</Button>
          <label className="field access-reason"><span>{t("ask.reason")}</span><textarea rows={2} maxLength={500} value={reason} placeholder={t("ask.reason.help")} onChange={(event) => setReason(event.target.value)} /></label>
          {grant && <p className="quiet small access-reason">{grant.description} {t("ask.who", { who: grant.ask })}</p>}
          {rule && <p className="quiet small access-reason">{rule.description} {rule.tables.join(", ")} · {t("ask.who", { who: rule.ask })}</p>}
        </form>
      )}
      {ask.error && <Trouble error={ask.error} />}
      {ask.data && !ask.error && <p role="status">{t("ask.sent")}</p>}
    </Card>
  );
}

function useColumns(): Record<"who" | "what" | "reason" | "asked" | "time", GridColumn<Request>> {
  const { t, ago, moment, word } = useWords(own);
  return {
    who: { key: "who", title: t("who"), cell: (one) => <b>{one.user}</b>, by: (one) => one.user },
    what: { key: "what", title: t("what"), cell: (one) => <><span className="quiet">{word("kind", one.kind)}</span> <code>{one.what}</code></>, by: (one) => one.what },
    reason: { key: "reason", title: t("reason"), wrap: true, cell: (one) => <span className="access-why">{one.reason}</span> },
    asked: { key: "asked", title: t("asked"), cell: (one) => <span title={moment(one.asked_at)}>{ago(one.asked_at)}</span>, by: (one) => one.asked_at },
    time: { key: "time", title: t("time"), cell: (one) => (one.days === null ? t("days.good") : t("days.count", { count: one.days })), by: (one) => one.days },
  };
}

function Queue({ items, read }: { items: Request[]; read: number }) {
  const { t } = useWords(own);
  const { me } = useWho();
  const columns = useColumns();
  const [deciding, setDeciding] = useState<{ request: Request; how: "approve" | "refuse" } | null>(null);
  return (
    <Card flush title={t("queue")} extra={<Trust read={read} route="GET /v1/access-requests" />}>
      <Grid
        rows={items} rowKey={(one) => one.id} label={t("queue")} first={{ key: "asked", down: true }} empty={<Empty icon="check" text={t("queue.empty")} />}
        columns={[columns.who, columns.what, columns.reason, columns.time, columns.asked, {
          key: "do", title: "",
          cell: (request) => (request.user === me.name ? <span className="quiet small">{t("own")}</span> : (
            <span className="row">
              <Button size="small" type="primary" aria-label={`${t("approve")}: ${request.user} ${request.what}`} onClick={() => setDeciding({ request, how: "approve" })}>{t("approve")}</Button>
              <Button size="small" danger aria-label={`${t("refuse")}: ${request.user} ${request.what}`} onClick={() => setDeciding({ request, how: "refuse" })}>{t("refuse")}</Button>
            </span>
          )),
        }]}
      />
      {deciding && <Decide key={deciding.request.id} {...deciding} close={() => setDeciding(null)} />}
    </Card>
  );
}

function Decide({ request, how, close }: { request: Request; how: "approve" | "refuse"; close: () => void }) {
  const { t, word } = useWords(own);
  const [text, setText] = useState("");
  const [days, setDays] = useState<Days>(atLeast(request.days));
  const said = text.trim();
  const decide = useDo<Request>(() => ["POST", `/v1/access-requests/${part(request.id)}/${how}`, how === "refuse" ? { reason: said } : { days: number(days), answer: said || undefined }], close);
  const names = { who: request.user, kind: word("kind", request.kind), what: request.what };
  return (
    <Modal
      open title={t(how === "approve" ? "approve.title" : "refuse.title", names)} onCancel={close} onOk={() => decide.mutate()} okText={t(how)} cancelText={t("f.cancel")}
      okButtonProps={{ danger: how === "refuse", disabled: how === "refuse" && !said, loading: decide.isPending }}
    >
      <p className="access-why">{request.reason}</p>
      {how === "approve" && <p className="quiet">{t("approve.text")}</p>}
      {how === "approve" && <div className="field"><span>{t("time")}</span><Choice label={t("time")} value={days} choose={setDays} of={(request.days === null ? DAYS : DAYS.filter((key) => key !== "" || days === "")).map((key) => ({ key, label: key === "" ? t("days.good") : t("days.count", { count: key }) }))} /></div>}
      <label className="field"><span>{t(how === "approve" ? "approve.answer" : "refuse.reason", names)}</span><textarea rows={2} maxLength={500} value={text} onChange={(event) => setText(event.target.value)} /></label>
      {decide.error && <Trouble error={decide.error} />}
    </Modal>
  );
}

const TONES: Record<Request["status"], string> = { open: "pending", approved: "active", refused: "failed", withdrawn: "idle", ended: "idle", expired: "idle" };

function Listed({ title, empty, items, read }: { title: string; empty: string; items: Request[]; read: number }) {
  const { t, day, word } = useWords(own);
  const { can, me } = useWho();
  const { modal } = App.useApp();
  const columns = useColumns();
  const end = useDo<unknown, string>((id) => ["DELETE", `/v1/access-requests/${part(id)}`]);
  const ask = (one: Request) => {
    const names = { who: one.user, kind: word("kind", one.kind), what: one.what };
    modal.confirm({ title: t("end.title", names), content: t("end.text", names), okText: t("end"), okButtonProps: { danger: true }, cancelText: t("f.cancel"), onOk: () => end.mutate(one.id) });
  };
  return (
    <Card flush title={title} extra={<Trust read={read} route="GET /v1/access-requests" />}>
      {end.error && <Trouble error={end.error} />}
      <Grid
        rows={items} rowKey={(one) => one.id} label={title} first={{ key: "asked", down: true }} empty={<Empty icon="info" text={empty} />}
        columns={[...(items.every((one) => one.user === me.name) ? [] : [columns.who]), columns.what, columns.reason, columns.asked,
          { key: "state", title: t("state"), cell: (one) => <><Status of={TONES[one.status]} label={t(`state.${one.status}`)} />{one.decided_by && <span className="quiet small"> {t("by", { who: one.decided_by })}</span>}</>, by: (one) => one.status },
          { key: "until", title: t("until"), cell: (one) => (one.until ? day(one.until) : one.status === "approved" ? t("days.good") : "–"), by: (one) => one.until },
          { key: "said", title: t("said"), wrap: true, cell: (one) => (one.answer ? <span className="access-why">{one.answer}</span> : "–") },
          { key: "do", title: "", cell: (one) => (one.status === "open" && one.user === me.name ? <Button size="small" type="text" aria-label={`${t("withdraw")}: ${one.what}`} onClick={() => end.mutate(one.id)}>{t("withdraw")}</Button> : one.status === "approved" && (can("administer") || one.user === me.name) ? <Button size="small" type="text" danger aria-label={`${t("end")}: ${one.user} ${one.what}`} onClick={() => ask(one)}>{t("end")}</Button> : null) }]}
      />
    </Card>
  );
}
