/** All policies, each with what it changed. */
import { Button } from "antd";
import { Link, useNavigate } from "react-router";
import { part, useGet, type Items, type Lift, type Policy, type Status as Whole } from "../../api";
import { useWords } from "../../i18n";
import { useWho } from "../../session";
import { Ask, Card, Chip, Empty, Page, Status, Trust } from "../../ui/basics";
import { HaltButton } from "../../ui/halt";
import { Icon } from "../../ui/icons";
import { liftSql, measured, Spark, verdict } from "../../ui/lift";
import own from "./words";

export default function Policies() {
  const { t } = useWords(own);
  const { can } = useWho();
  const go = useNavigate();
  const make = can("author") && can("query") && <Button type="primary" icon={<Icon name="plus" size={14} />} onClick={() => void go("/policies/new")}>{t("new")}</Button>;
  const policies = useGet<Items<Policy>>("/v1/policies");
  const status = useGet<Whole>("/v1/status");
  const together = status.data?.together ?? [];
  return (
    <Page title={t("title")} text={t("text")} actions={<>{make}<HaltButton /></>}>
      {together.length > 0 && <Together turns={together} read={status.dataUpdatedAt} />}
      <Ask of={policies}>
        {({ items }) => (items.length === 0 ? <Card><Empty icon="policies" text={t("empty")} action={make} /></Card> : items.map((policy) => <Row key={policy.policy} policy={policy} read={policies.dataUpdatedAt} />))}
      </Ask>
    </Page>
  );
}

/** What all policies bring together, against the units that none of them treats. */
function Together({ turns, read }: { turns: Lift[]; read: number }) {
  const { t, points, interval } = useWords(own);
  const last = measured(turns).at(-1);
  const says = verdict(turns);
  return (
    <Card>
      <div className="policy-row">
        <div>
          <h2>{t("together")}</h2>
          <p>{t("together.text")}</p>
        </div>
        <Spark turns={turns} width={180} height={48} />
        <div className="policy-lift">
          {last ? <><b>{points(last.lift)}</b> <Status of={says} label={t(`lift.${says}`)} /><br /><span className="quiet small">{interval(last.lower, last.upper)}</span></> : <span className="quiet small">{t("lift.none")}</span>}
        </div>
        <div className="policy-counts"><span style={{ marginLeft: "auto" }}><Trust read={read} sql={liftSql("*")} /></span></div>
      </div>
    </Card>
  );
}

function Row({ policy, read }: { policy: Policy; read: number }) {
  const { t, n, points, interval, word } = useWords(own);
  const last = measured(policy.turns).at(-1);
  const says = verdict(policy.turns);
  return (
    <Card>
      <div className="policy-row">
        <div>
          <h2><Link to={`/policies/${part(policy.policy)}`}>{policy.policy}</Link>{policy.choose && <Chip>{word("choose", policy.choose)}</Chip>}<Status of={policy.paused === null ? "active" : "paused"} />{(policy.failed || policy.unread) && <Status of="failed" />}</h2>
          <p>{policy.description}</p>
        </div>
        <Spark turns={policy.turns} width={180} height={48} />
        <div className="policy-lift">
          {last ? <><b>{points(last.lift)}</b> <Status of={says} label={t(`lift.${says}`)} /><br /><span className="quiet small">{interval(last.lower, last.upper)}</span></> : <span className="quiet small">{t("lift.none")}</span>}
        </div>
        <div className="policy-counts">
          <span>{t("decisions")} <b>{n(policy.decisions)}</b></span><span>{t("heldout")} <b>{n(policy.held_out)}</b></span><span>{t("actions")} <b>{n(policy.actions)}</b></span><span>{t("outcomes")} <b>{n(policy.outcomes)}</b></span>
          <span style={{ marginLeft: "auto" }}><Trust read={read} route="GET /v1/policies" /></span>
        </div>
      </div>
    </Card>
  );
}
