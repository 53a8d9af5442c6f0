/** Makes and changes a dashboard: tiles are added, put in order, sized and filled, by pointer or by keyboard. */
import { App, Button, Modal } from "antd";
import { useCallback, useMemo, useRef, useState } from "react";
import { flushSync } from "react-dom";
import { useNavigate, useParams } from "react-router";
import { call, client, part, useDo, useGet, type Items, type Metric } from "../../api";
import { useWords } from "../../i18n";
import { useWho, whose } from "../../session";
import { Ask, Empty, Page, Trouble } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { blankBoard, blankTile, COLUMNS, freshName, labelled, moved, ROWS_MAX, shownAs, sizeOf, titled, type Board, type Choice, type Opened, type Tile as Declared } from "./board";
import { dropDraft, keptDraft, useKept, useLeaving } from "./draft";
import { Add, BoardFields, TileFields } from "./Inspect";
import { SourceContext, type Source } from "./source";
import "./style.css";
import { Tile } from "./Tile";
import own from "./words";

const NOTHING: Choice = { from: null, to: null, whole: false, compare: null, only: {} };

export default function Build() {
  const { name } = useParams();
  const opened = useGet<Opened>(name ? `/v1/dashboards/${part(name)}` : null);
  const metrics = useGet<Items<Metric>>("/v1/metrics");
  if (!name) return <Ask of={metrics} lines={8}>{({ items }) => <Builder name="" first={blankBoard()} version={null} comments={0} metrics={items} />}</Ask>;
  return <Ask of={opened} lines={8}>{(data) => <Ask of={metrics} lines={8}>{({ items }) => <Builder key={data.name} name={data.name} first={data.dashboard} version={data.version ?? null} comments={data.comments ?? 0} metrics={items} />}</Ask>}</Ask>;
}

interface Begun { name: string; first: Board; version: string | null; comments: number; metrics: Metric[] }

function Builder({ name, first, version: read, comments, metrics }: Begun) {
  const { t, language, moment } = useWords(own);
  const { modal, message } = App.useApp();
  const go = useNavigate();
  const mine = whose(useWho());
  // What was read when the page was opened stays the one that is changed, whatever is read meanwhile.
  const [start] = useState({ board: first, version: read });
  const [draft, setDraft] = useState(() => keptDraft(mine, name));
  // Somebody saved the dashboard meanwhile: what is kept here is still wanted, and would replace that.
  const stale = draft !== null && draft.version !== start.version;
  const [board, setBoard] = useState(start.board);
  const [chosen, setChosen] = useState<string | null>(null);
  const [adding, setAdding] = useState(!start.board.tiles.length);
  const [said, setSaid] = useState("");
  const saved = useRef(false);
  const dirty = !saved.current && JSON.stringify(board) !== JSON.stringify(start.board);
  useKept(mine, name, start.version, board, dirty);
  const [leaving, stay] = useLeaving(dirty);
  const change = useCallback((make: (now: Board) => Board) => setBoard(make), []);
  const source = useMemo<Source>(() => ({ key: "draft", get: (path, signal) => call("GET", path, undefined, signal), draft: board }), [board]);
  const at = board.tiles.findIndex((tile) => tile.tile === chosen);
  const tile = board.tiles[at];

  const setTile = useCallback((which: string, make: (tile: Declared) => Declared) => change((now) => ({ ...now, tiles: now.tiles.map((one) => (one.tile === which ? make(one) : one)) })), [change]);
  const place = useCallback((which: string, to: number) => {
    const from = board.tiles.findIndex((one) => one.tile === which);
    const next = Math.max(0, Math.min(board.tiles.length - 1, to));
    if (from < 0 || next === from) return;
    change((now) => ({ ...now, tiles: moved(now.tiles, from, next) }));
    setSaid(t("said.moved", { tile: which, place: next + 1, count: board.tiles.length }));
  }, [board.tiles, change, t]);
  const size = useCallback((which: string, width: number, height: number) => {
    const fit = (value: number, most: number) => Math.max(1, Math.min(most, Math.round(value)));
    const [w, h] = [fit(width, COLUMNS), fit(height, ROWS_MAX)];
    setTile(which, (one) => (one.width === w && one.height === h ? one : { ...one, width: w, height: h }));
    setSaid(t("said.sized", { tile: which, width: w, height: h }));
  }, [setTile, t]);
  const add = (made: Declared) => {
    change((now) => ({ ...now, tiles: [...now.tiles, made] }));
    setChosen(made.tile);
    setAdding(false);
    requestAnimationFrame(() => document.getElementById(`tile-${made.tile}`)?.scrollIntoView({ block: "nearest" }));
  };
  const remove = (which: string) => {
    const index = board.tiles.findIndex((one) => one.tile === which);
    const gone = board.tiles[index];
    change((now) => ({ ...now, tiles: now.tiles.filter((one) => one.tile !== which) }));
    setChosen(null);
    setSaid(t("said.removed", { tile: which }));
    if (gone) {
      message.open({ key: "removed", type: "info", duration: 8, content: <span>{t("removed")} <Button type="link" size="small" onClick={() => { change((now) => ({ ...now, tiles: [...now.tiles.slice(0, index), gone, ...now.tiles.slice(index)] })); message.destroy("removed"); }}>{t("undo")}</Button></span> });
    }
  };
  const copy = (which: string) => {
    const index = board.tiles.findIndex((one) => one.tile === which);
    const of = board.tiles[index];
    if (!of) return;
    const made = { ...of, tile: freshName(of.tile, board.tiles) };
    change((now) => ({ ...now, tiles: [...now.tiles.slice(0, index + 1), made, ...now.tiles.slice(index + 1)] }));
    setChosen(made.tile);
  };

  const save = useDo<{ name: string; version: string }>(
    () => (name ? ["PATCH", `/v1/dashboards/${part(name)}`, { dashboard: board, version: start.version ?? "" }] : ["POST", "/v1/dashboards", { dashboard: board }]),
    (answer) => {
      saved.current = true;
      dropDraft(mine, name);
      void client.invalidateQueries({ queryKey: ["/v1/dashboards"] });
      void go(`/dashboards/${part(answer.name)}`);
    },
  );
  const remover = useDo<unknown>(() => ["DELETE", `/v1/dashboards/${part(name)}?version=${part(start.version ?? "")}`], () => {
    saved.current = true;
    dropDraft(mine, name);
    void go("/dashboards");
  });
  const askRemove = () => modal.confirm({ title: t("delete.title", { name }), content: t("delete.text"), okText: t("delete"), okButtonProps: { danger: true }, cancelText: t("f.cancel"), onOk: () => remover.mutate() });
  const leave = (to: string) => {
    saved.current = true;
    dropDraft(mine, name);
    stay();
    void go(to);
  };
  const askName = () => {
    setAdding(false);
    setChosen(null);
    void message.info(t("i.name.first"));
    requestAnimationFrame(() => document.querySelector<HTMLInputElement>(".board-side input")?.focus());
  };
  const title = labelled(board.title, language) ?? (board.dashboard || t("new"));
  return (
    <SourceContext value={source}>
      <Page
        title={<>{title}{dirty && <span className="board-dirty">{t("unsaved")}</span>}</>} back={{ to: name ? `/dashboards/${part(name)}` : "/dashboards", label: name ? t("back.view") : t("back") }}
        actions={<>
          {name && <Button danger type="text" onClick={askRemove}>{t("delete")}</Button>}
          <Button icon={<Icon name="plus" size={15} />} onClick={() => { setAdding(true); setChosen(null); }}>{t("addtile")}</Button>
          <Button type="primary" loading={save.isPending} disabled={!dirty} onClick={() => (board.dashboard ? save.mutate() : askName())}>{t("save")}</Button>
        </>}
      >
        {draft && !dirty && (
          <p className={`board-note ${stale ? "board-note-warn" : ""}`}><Icon name={stale ? "alert" : "info"} size={16} /><span>{t(stale ? "draft.stale" : "draft", { when: moment(draft.at) })}</span>
            <Button size="small" onClick={() => { setBoard(draft.board); setAdding(!draft.board.tiles.length); setDraft(null); }}>{t("draft.take")}</Button>
            <Button size="small" type="text" onClick={() => { dropDraft(mine, name); setDraft(null); }}>{t("draft.drop")}</Button>
          </p>
        )}
        {comments > 0 && <p className="board-note board-note-warn"><Icon name="alert" size={16} />{t("comments", { count: comments })}</p>}
        {save.error && <div className="board-trouble"><Trouble error={save.error} /></div>}
        {remover.error && <Trouble error={remover.error} />}
        <div className="board-build">
          <div className="board-frame board-frame-edit">
            {board.tiles.length === 0 && <div className="card"><Empty icon="board" text={t("build.empty")} /></div>}
            <div className="board-grid" id="board-grid">
              {board.tiles.map((one, index) => (
                <Tile
                  key={one.tile} board={board.dashboard} tile={one} metrics={metrics} choice={NOTHING} rows links={false} className={`board-edit ${one.tile === chosen ? "board-chosen" : ""}`}
                  props={{ "data-tile": index, onClick: () => { setChosen(one.tile); setAdding(false); } }}
                  tools={<Tools tile={one} title={titled(one, metrics, language, (what, dimension) => t("tile.by", { what, dimension })) || one.tile} index={index} count={board.tiles.length} place={place} size={size} remove={remove} copy={copy} choose={() => { setChosen(one.tile); setAdding(false); }} />}
                />
              ))}
            </div>
          </div>
          <aside className="card board-side" aria-label={t("side")}>
            {adding ? <Add metrics={metrics} add={(made) => add(blank(made, board))} close={() => setAdding(false)} />
              : tile ? <TileFields key={tile.tile} tile={tile} board={board} metrics={metrics} set={(make) => setTile(tile.tile, make)} size={(width, height) => size(tile.tile, width, height)} close={() => setChosen(null)} />
              : <BoardFields fresh={!name} board={board} metrics={metrics} set={change} />}
          </aside>
        </div>
        <p className="unseen" role="status" aria-live="polite">{said}</p>
        {leaving !== null && (
          <Modal open title={t("leave.title")} onCancel={stay} footer={<><Button onClick={() => leave(leaving)}>{t("leave.drop")}</Button><Button onClick={() => { stay(); saved.current = true; void go(leaving); }}>{t("leave.keep")}</Button><Button type="primary" onClick={stay}>{t("leave.stay")}</Button></>}>
            <p>{t("leave.text")}</p>
          </Modal>
        )}
      </Page>
    </SourceContext>
  );
}

/** What was chosen to be added, as a tile with a name of its own. */
function blank(made: Partial<Declared> & { wanted: string }, board: Board): Declared {
  const { wanted, ...rest } = made;
  return { ...blankTile(freshName(wanted, board.tiles)), ...rest };
}

interface Handles { tile: Declared; title: string; index: number; count: number; place: (which: string, to: number) => void; size: (which: string, width: number, height: number) => void; remove: (which: string) => void; copy: (which: string) => void; choose: () => void }

/** What moves and sizes a tile. The first button does both by keyboard, too. */
function Tools({ tile, title, index, count, place, size, remove, copy, choose }: Handles) {
  const { t } = useWords(own);
  const now = sizeOf(tile, shownAs(tile));
  // A drag goes on while tiles, this one too, are drawn anew at other places.
  const latest = useRef({ index, place, size });
  latest.current = { index, place, size };
  const drag = (event: React.PointerEvent, move: (to: PointerEvent) => void) => {
    choose();
    const on = (to: PointerEvent) => to.pointerId === event.pointerId && move(to);
    const off = () => {
      removeEventListener("pointermove", on);
      removeEventListener("pointerup", off);
      removeEventListener("pointercancel", off);
    };
    addEventListener("pointermove", on);
    addEventListener("pointerup", off);
    addEventListener("pointercancel", off);
  };
  const carry = (to: PointerEvent) => {
    const over = document.elementsFromPoint(to.clientX, to.clientY).map((element) => element.closest<HTMLElement>("[data-tile]")).find(Boolean);
    const at = Number(over?.dataset.tile ?? latest.current.index);
    if (!over || at === latest.current.index) return;
    const box = over.getBoundingClientRect();
    const [x, y] = [to.clientX - box.left - box.width / 2, to.clientY - box.top - box.height / 2];
    // Beyond the middle of the other tile, so that two of different sizes do not change places again and again.
    if (at > latest.current.index ? x > 0 || y > 0 : x < 0 || y < 0) latest.current.place(tile.tile, at);
  };
  const press = (event: React.KeyboardEvent<HTMLButtonElement>) => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!by) return;
    event.preventDefault();
    const [x = 0, y = 0] = by;
    const handle = event.currentTarget;
    // An element that is put elsewhere loses the focus. It has it again before the next key, however fast that comes.
    flushSync(() => {
      if (event.shiftKey) size(tile.tile, now.width + x, now.height + y);
      else place(tile.tile, index + (x || y));
    });
    handle.focus();
  };
  /** A column and a row of the grid in pixels, with the gap after them. */
  const step = () => {
    const grid = document.getElementById("board-grid");
    const style = grid && getComputedStyle(grid);
    const gap = Number.parseFloat(style?.columnGap ?? "16") || 16;
    const columns = style?.gridTemplateColumns.split(" ") ?? [];
    return { x: (Number.parseFloat(columns[0] ?? "80") || 80) + gap, y: 80 + gap, scale: COLUMNS / Math.max(1, columns.length) };
  };
  return (
    <span className="board-tools" onClick={(event) => event.stopPropagation()}>
      <button
        type="button" className="board-handle" aria-label={t("handle", { tile: title, place: index + 1, count })} title={t("handle.title")} onKeyDown={press} onFocus={choose}
        onPointerDown={(event) => drag(event, carry)}
      ><Icon name="drag" size={16} /></button>
      <button type="button" aria-label={t("copy.tile", { tile: title })} title={t("copy")} onClick={() => copy(tile.tile)}><Icon name="copy" size={15} /></button>
      <button type="button" aria-label={t("remove.tile", { tile: title })} title={t("remove")} onClick={() => remove(tile.tile)}><Icon name="remove" size={15} /></button>
      <span
        className="board-corner" aria-hidden="true"
        onPointerDown={(event) => {
          const { x, y, scale } = step();
          const [left, top] = [event.clientX, event.clientY];
          drag(event, (to) => latest.current.size(tile.tile, now.width + ((to.clientX - left) / x) * scale, now.height + (to.clientY - top) / y));
        }}
      />
    </span>
  );
}

