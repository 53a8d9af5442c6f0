/** What a policy would decide now: shown beside a policy that is there, and of one that is being made. Nothing is decided, logged or sent by looking. */
import { useMutation } from "@tanstack/react-query";
import { Button } from "antd";
import { call, part } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Card, Code, Empty, Figures, Grid, Rich, Trouble, Trust } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { areUnshown, Chosen, parsed } from "./parts";
import "./style.css";
import own from "./words";

interface Shown { unit_id: string; arm: string; action: string | null; propensity: number | null; items: unknown; payload: unknown; written?: unknown; features: unknown }
export interface Preview {
  policy: string; at: string; due: boolean; paused: unknown; audience: number; without_unit: number; repeated: number;
  left_out: { reason: string; units: number }[]; decisions: number; held_out: number; globally_held: number; treated: number; actions: { action: string; units: number; share: number }[];
  delivery: { action: string | null; type: string | null; approval: boolean; leaves: number }; sample: Shown[]; notes: string[];
}

/** Decisions that are shown one by one. */
export const SAMPLE = 20;

/** The next decisions of a policy that is there. */
export function DryRun({ name }: { name: string }) {
  const { t } = useWords(own);
  const { can } = useWho();
  const route = `/v1/policies/${part(name)}/preview?sample=${SAMPLE}`;
  // It is asked for by hand alone: the whole audience runs for it.
  const look = useMutation<Preview, Error>({ mutationFn: () => call<Preview>("GET", route) });
  if (!can("query")) return null;
  return (
    <Card title={t("dry")} className="after-columns" extra={<><Button size="small" icon={<Icon name="search" size={13} />} loading={look.isPending} onClick={() => look.mutate()}>{look.data ? t("dry.again") : t("dry.go")}</Button>{look.data && <Trust read={look.submittedAt} as={look.data.at} route={`GET ${route}`} />}</>}>
      <p className="quiet small">{t("dry.text")}</p>
      {look.error && <div className="draft-trouble"><Trouble error={look.error} /></div>}
      <div aria-live="polite">{look.data && <Previewed of={look.data} />}</div>
    </Card>
  );
}

/** The answer of a dry run. */
export function Previewed({ of }: { of: Preview }) {
  const { t, n, percent, moment, word } = useWords(own);
  const { delivery } = of;
  const counted = (count: number) => (count === 1 ? t("units.one") : t("units", { count: n(count) }));
  const left = of.left_out.reduce((sum, one) => sum + one.units, 0);
  const rows = of.sample.map((one, at) => ({ ...one, at }));
  return (
    <div className="draft-preview">
      <Figures of={[
        { label: t("dry.audience"), value: n(of.audience) },
        { label: t("dry.left"), value: n(left), note: left ? <ul>{of.left_out.map((one) => <li key={one.reason}>{word("left", one.reason)}: {counted(one.units)}</li>)}</ul> : undefined },
        { label: t("dry.treated"), value: n(of.treated) },
        { label: t("dry.heldout"), value: n(of.held_out), note: of.decisions ? t("heldout.share", { share: percent(of.held_out / of.decisions) }) : undefined },
        ...(of.globally_held ? [{ label: t("arm.global_holdout"), value: n(of.globally_held) }] : []),
        { label: t("dry.leaves"), value: n(delivery.leaves), note: delivery.action ? <>{t("dry.by", { action: delivery.action })}{delivery.type && ` (${delivery.type})`}</> : t("dry.logged") },
      ]} />
      <p className="quiet small">{t("dry.at", { when: moment(of.at) })}</p>
      {!of.due && <p className="draft-note"><Icon name="clock" size={16} />{t("dry.notdue")}</p>}
      {of.without_unit > 0 && <p className="draft-note draft-note-warn"><Icon name="alert" size={16} />{t("dry.nounit", { count: n(of.without_unit) })}</p>}
      {of.repeated > 0 && <p className="draft-note draft-note-warn"><Icon name="alert" size={16} />{t("dry.repeated", { count: n(of.repeated) })}</p>}
      {of.paused !== null && of.paused !== undefined ? <p className="draft-note"><Icon name="pause" size={16} />{t("dry.paused", { reason: String(of.paused) })}</p> : delivery.approval && <p className="draft-note"><Icon name="info" size={16} /><span><Rich text={t("dry.approval")} /></span></p>}
      {of.notes.length > 0 && <><h3 className="sub">{t("dry.notes")}</h3><ul className="draft-notes" lang="en">{of.notes.map((note, at) => <li key={at}>{note}</li>)}</ul></>}
      {of.actions.length > 0 && (
        <>
          <h3 className="sub">{t("dry.actions")}</h3>
          <Grid
            rows={of.actions} rowKey={(one) => one.action} label={t("dry.actions")} tight page={20}
            columns={[
              { key: "action", title: t("choice"), wrap: true, cell: (one) => one.action, by: (one) => one.action },
              { key: "units", title: t("dry.units"), number: true, cell: (one) => n(one.units), by: (one) => one.units },
              { key: "share", title: t("dry.share"), number: true, width: "45%", cell: (one) => <span className="draft-share"><span className="draft-bar" aria-hidden="true"><i style={{ width: `${Math.max(0, Math.min(1, one.share)) * 100}%` }} /></span>{percent(one.share)}</span>, by: (one) => one.share },
            ]}
          />
        </>
      )}
      <h3 className="sub">{t("dry.sample")}</h3>
      <Grid
        rows={rows} rowKey={(one) => String(one.at)} label={t("dry.sample")} tight page={SAMPLE} empty={<Empty icon="decide" text={t(areUnshown(of.decisions) ? "unshown" : "dry.nobody")} />}
        columns={[
          { key: "unit", title: t("unit"), cell: (one) => <code>{one.unit_id}</code>, by: (one) => one.unit_id },
          { key: "arm", title: t("arm"), cell: (one) => <><i className={`key key-${one.arm === "treatment" ? "treated" : "holdout"}`} /> {word("arm", one.arm)}</>, by: (one) => one.arm },
          { key: "choice", title: t("choice"), wrap: true, cell: (one) => <Chosen action={one.action ?? undefined} items={one.items} names={{}} /> },
          { key: "p", title: t("propensity"), number: true, cell: (one) => percent(one.propensity), by: (one) => one.propensity },
          { key: "payload", title: t("dry.payload"), cell: (one) => <details className="declared"><summary>{t("dry.payload")}</summary><Code text={JSON.stringify({ payload: parsed(one.payload), written: one.written, features: parsed(one.features) }, null, 2)} max={260} /></details> },
        ]}
      />
    </div>
  );
}
