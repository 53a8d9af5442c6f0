/** All learners, each with its newest measures. */
import { Link } from "react-router";
import { part, useGet, type Items, type Learner } from "../../api";
import { useWords } from "../../i18n";
import { Ask, Card, Chip, Empty, Page, Status, Trust } from "../../ui/basics";
import { better, isNear, measureCalled } from "../../ui/measures";
import "./style.css";
import { New } from "../files/buttons";
import own from "./words";

/** Measures shown of each; its page has all. */
const SHOWN = 4;

export default function Learners() {
  const { t, n, day, word, language } = useWords(own);
  const learners = useGet<Items<Learner>>("/v1/learners");
  return (
    <Page title={t("title")} text={t("text")} actions={<New kind="learner" />}>
      <Ask of={learners}>
        {({ items }) =>
          items.length === 0 ? <Card><Empty icon="learn" text={t("empty")} /></Card> : (
            <div className="columns">
              {items.map((learner) => (
                <Card key={learner.name} title={<Link to={`/learners/${part(learner.name)}`}>{learner.name}</Link>} extra={<><Chip>{word("kind", learner.kind)}</Chip><Trust read={learners.dataUpdatedAt} sql={`select * from system.evaluations where learner = '${learner.name}' order by at desc`} /></>}>
                  <p className="learners-about">{learner.description}</p>
                  <ul className="learners-measures">
                    {learner.measures.slice().sort((a, b) => (a.against === b.against ? 0 : a.against === "reality" ? -1 : 1)).slice(0, SHOWN).map((one) => {
                      const good = better(one);
                      return (
                        <li key={`${one.against} ${one.measure}`}>
                          <span>{measureCalled(one.measure, language)}<small>{word("against", one.against)}</small></span>
                          <b>{n(one.value, 3)}</b>
                          <span className="quiet small">{isNear(one.measure) ? t("near", { baseline: n(one.baseline, 3) }) : `${t("f.baseline")} ${n(one.baseline, 3)}`}</span>
                          {good === null ? <span /> : <Status of={good ? "ok" : "attention"} label={t(good ? "better" : "worse")} />}
                        </li>
                      );
                    })}
                  </ul>
                  <p className="quiet small">{learner.fitted_at ? `${t("fitted")} ${day(learner.fitted_at)}` : t("never")}{learner.artifact && <> · <code>{learner.artifact}</code></>}{learner.pinned && <> <Status of="attention" label={t("pinned")} /></>}{learner.drift && <> <Status of="attention" label={t("drift.short")} /></>}</p>
                </Card>
              ))}
            </div>
          )}
      </Ask>
    </Page>
  );
}
