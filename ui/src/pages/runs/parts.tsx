/** Tasks over time and the log; of a run that ended, and of work under way. */
import { Button } from "antd";
import { Fragment, useMemo, useState } from "react";
import { save, type LogLine } from "../../api";
import { useWords } from "../../i18n";
import { Choice, Code, Empty, Status } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import "./style.css";
import own from "./words";

export interface ShownTask { kind: string; name: string; status: string; started_at: string | null; duration_ms: number | null; rows_in: number | null; rows_out: number | null; rows_rejected: number | null; error: string | null; detail?: unknown }

interface Outcome { status: string; failures?: number }

/** Details of a task: tests in words, the rest as it is. */
function Detail({ detail }: { detail: unknown }) {
  const { t, n } = useWords(own);
  const object = (detail ?? {}) as Record<string, unknown>;
  const tests = Object.entries((object.test_outcomes ?? {}) as Record<string, Outcome>);
  const failed = tests.filter(([, one]) => one.status !== "passed");
  const rest = Object.fromEntries(Object.entries(object).filter(([key, value]) => key !== "test_outcomes" && value !== null));
  if (!tests.length && !Object.keys(rest).length) return null;
  return (
    <details className="declared runs-detail">
      <summary>{tests.length ? t("tests", { passed: n(tests.length - failed.length), all: n(tests.length) }) : t("detail")}</summary>
      {failed.length > 0 && <><b>{t("tests.failed")}</b><ul>{failed.map(([name, one]) => <li key={name}><Status of={one.status} /> <code>{name}</code> {one.failures ? t("tests.rows", { count: n(one.failures) }) : ""}</li>)}</ul></>}
      {Object.keys(rest).length > 0 && <Code text={JSON.stringify(rest, null, 2)} max={220} />}
    </details>
  );
}

const ms = (text: string | null) => (text ? new Date(text).getTime() : Number.NaN);

export function Tasks({ tasks, empty }: { tasks: ShownTask[]; empty: string }) {
  const { t, n, duration, word } = useWords(own);
  const starts = tasks.map((task) => ms(task.started_at)).filter(Number.isFinite);
  const first = Math.min(...starts);
  const last = Math.max(...tasks.map((task) => ms(task.started_at) + (task.duration_ms ?? 0)).filter(Number.isFinite), first + 1);
  if (!tasks.length) return <Empty icon="runs" text={empty} />;
  return (
    <div className="grid-outer" tabIndex={0} role="region" aria-label={t("tasks")}>
      <table className="grid runs-tasks">
        <caption className="unseen">{t("tasks")}</caption>
        <thead><tr>{[t("f.kind"), t("f.name"), t("f.status")].map((one) => <th key={one} scope="col">{one}</th>)}{[t("f.in"), t("f.out"), t("f.rejected"), t("f.duration")].map((one) => <th key={one} scope="col" className="right">{one}</th>)}<th scope="col" style={{ width: "30%" }}>{t("tasks.over")}</th></tr></thead>
        <tbody>
          {tasks.map((task, at) => (
            <Fragment key={at}>
              <tr>
                <td>{word("kind", task.kind)}</td>
                <td className="wrap"><code>{task.name}</code><Detail detail={task.detail} /></td>
                <td><Status of={task.status} /></td>
                {[task.rows_in, task.rows_out].map((count, which) => <td key={which} className="right">{n(count)}</td>)}
                <td className={`right ${task.rows_rejected ? "bad" : ""}`}>{n(task.rows_rejected)}</td>
                <td className="right">{duration(task.duration_ms)}</td>
                <td><div className="runs-lane">{Number.isFinite(ms(task.started_at)) && <i className={`runs-${task.status}`} style={{ left: `${((ms(task.started_at) - first) / (last - first)) * 100}%`, width: `${((task.duration_ms ?? 0) / (last - first)) * 100}%` }} />}</div></td>
              </tr>
              {task.error && <tr className="runs-error"><td colSpan={8} className="bad">{task.error}</td></tr>}
            </Fragment>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const LEVELS = ["all", "warn", "error"] as const;
/** Lines that are drawn; the newest, since what went wrong stands at the end. */
const LINES = 2_000;

/** A line with what is looked for marked in it. */
function Marked({ text, find }: { text: string; find: string }) {
  const at = find ? text.toLowerCase().indexOf(find) : -1;
  if (at < 0) return <>{text}</>;
  return <>{text.slice(0, at)}<mark>{text.slice(at, at + find.length)}</mark>{text.slice(at + find.length)}</>;
}

export function Log({ lines, empty, name }: { lines: LogLine[]; empty: string; name: string }) {
  const { t, n, word } = useWords(own);
  const [level, setLevel] = useState<(typeof LEVELS)[number]>("all");
  const [find, setFind] = useState("");
  const wanted = find.trim().toLowerCase();
  const shown = useMemo(
    () => lines.filter((line) => (level === "all" || line.level === level || (level === "warn" && line.level === "error")) && (!wanted || line.text.toLowerCase().includes(wanted))),
    [lines, level, wanted],
  );
  if (!lines.length) return <Empty text={empty} />;
  const take = () => save(new Blob([lines.map((line) => `${line.at} ${line.level.toUpperCase()} ${line.text}\n`).join("")], { type: "text/plain" }), `${name}.log`);
  const count = (of: string) => lines.filter((line) => line.level === of || (of === "warn" && line.level === "error")).length;
  return (
    <>
      <div className="filters">
        <input className="input" type="search" placeholder={t("log.search")} aria-label={t("log.search")} value={find} onChange={(event) => setFind(event.target.value)} />
        <Choice label={t("f.filter")} value={level} choose={setLevel} of={LEVELS.map((one) => ({ key: one, label: one === "all" ? t("level.all") : `${t(`level.${one}`)} ${n(count(one))}` }))} />
        <span style={{ flex: 1 }} />
        <Button size="small" icon={<Icon name="download" size={14} />} onClick={take}>{t("log.download")}</Button>
      </div>
      {shown.length === 0 ? <p className="quiet">{t("log.nothing")}</p> : (
        <ol className="runs-log" tabIndex={0} aria-label={t("log")}>
          {shown.slice(-LINES).map((line, at) => (
            <li key={at} className={`runs-${line.level}`}><time dateTime={line.at} title={line.at}>{line.at.slice(11, 23).replace("Z", "")}</time><b>{word("level", line.level)}</b><span><Marked text={line.text} find={wanted} /></span></li>
          ))}
        </ol>
      )}
    </>
  );
}

