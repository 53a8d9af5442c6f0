/** The SQL editor. CodeMirror is heavy: it is loaded when the lab is opened. */
import { acceptCompletion, autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap, startCompletion, type CompletionContext, type CompletionResult } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { PostgreSQL, sql } from "@codemirror/lang-sql";
import { bracketMatching, HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { Compartment, EditorState, Prec } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers, placeholder } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { type Ref, useEffect, useImperativeHandle, useRef } from "react";
import { named, type Known } from "./known";

export interface EditorHandle {
  text: () => string;
  /** What is selected, or nothing. */
  selected: () => string;
  replace: (text: string) => void;
  insert: (text: string) => void;
  focus: () => void;
  /** Puts the cursor at a line and column, counted from 1. */
  point: (line: number, column: number) => void;
}

const look = EditorView.theme({
  "&": { height: "100%", fontSize: "13.5px", backgroundColor: "var(--surface)", color: "var(--ink)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.6" },
  ".cm-content": { padding: "10px 0", caretColor: "var(--ink)" },
  ".cm-gutters": { backgroundColor: "var(--surface)", color: "var(--ink-3)", border: "none", paddingLeft: "6px" },
  ".cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--sunken) 60%, transparent)" },
  ".cm-cursor": { borderLeftColor: "var(--ink)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "var(--brand-soft) !important" },
  ".cm-matchingBracket": { backgroundColor: "var(--brand-soft) !important", outline: "1px solid var(--brand-line)" },
  ".cm-placeholder": { color: "var(--ink-3)" },
  ".cm-tooltip": { backgroundColor: "var(--raised)", border: "1px solid var(--line)", borderRadius: "10px", boxShadow: "var(--shadow-high)", overflow: "hidden" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": { fontFamily: "var(--mono)", fontSize: "12.5px", maxHeight: "260px" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": { padding: "3px 10px" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--brand-soft)", color: "var(--brand)" },
  ".cm-completionDetail": { color: "var(--ink-3)", fontStyle: "normal", marginLeft: "1.2em" },
  ".cm-completionMatchedText": { textDecoration: "none", fontWeight: "700" },
});

const colours = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--brand)", fontWeight: "600" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--warn)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--bad)" },
  { tag: tags.comment, color: "var(--ink-3)", fontStyle: "italic" },
  { tag: [tags.typeName, tags.standard(tags.name)], color: "var(--holdout)" },
]);

/** Columns of the tables that the text names, with where each comes from. */
const columnsOf = (known: Known) => (context: CompletionContext): CompletionResult | null => {
  const word = context.matchBefore(/[\w]*$/);
  if (!word || (word.from === word.to && !context.explicit)) return null;
  if (context.state.sliceDoc(Math.max(0, word.from - 1), word.from) === ".") return null;
  const tables = named(context.state.doc.toString(), known);
  if (!tables.length) return null;
  return {
    from: word.from, validFor: /^\w*$/,
    options: tables.flatMap((table) => table.columns.map((column) => ({ label: column.name, type: "property", detail: `${column.type} · ${table.name}`, boost: 2 }))),
  };
};

const language = (known: Known) => {
  const schema: Record<string, string[]> = {};
  for (const table of known) schema[table.name] = table.columns.map((column) => column.name);
  const dialect = sql({ dialect: PostgreSQL, schema, upperCaseKeywords: false });
  return [dialect, PostgreSQL.language.data.of({ autocomplete: columnsOf(known) })];
};

export default function Editor({ ref, first, known, label, hint, run, changed }: { ref: Ref<EditorHandle>; first: string; known: Known; label: string; hint: string; run: () => void; changed: (text: string, selected: boolean) => void }) {
  const box = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const told = useRef({ run, changed });
  told.current = { run, changed };
  const tongue = useRef(new Compartment());
  const attributes = useRef(new Compartment());
  const start = useRef({ first, known, label, hint });
  useEffect(() => {
    if (!box.current) return;
    const { first: text, known: tables, label: name, hint: words } = start.current;
    const made = new EditorView({
      parent: box.current,
      state: EditorState.create({
        doc: text,
        selection: { anchor: text.length },
        extensions: [
          Prec.highest(keymap.of([{ key: "Mod-Enter", run: () => (told.current.run(), true) }, { key: "Tab", run: acceptCompletion }, { key: "Mod-i", run: startCompletion }])),
          lineNumbers(), history(), drawSelection(), bracketMatching(), closeBrackets(), highlightActiveLine(), EditorView.lineWrapping, autocompletion({ icons: false, activateOnTypingDelay: 60 }),
          keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...historyKeymap, ...completionKeymap]),
          tongue.current.of(language(tables)), look, syntaxHighlighting(colours),
          attributes.current.of([EditorView.contentAttributes.of({ "aria-label": name }), placeholder(words)]),
          EditorView.updateListener.of((update) => {
            if (update.docChanged || update.selectionSet) told.current.changed(update.state.doc.toString(), !update.state.selection.main.empty);
          }),
        ],
      }),
    });
    view.current = made;
    return () => {
      made.destroy();
      view.current = null;
    };
  }, []);
  useEffect(() => view.current?.dispatch({ effects: tongue.current.reconfigure(language(known)) }), [known]);
  useEffect(() => view.current?.dispatch({ effects: attributes.current.reconfigure([EditorView.contentAttributes.of({ "aria-label": label }), placeholder(hint)]) }), [label, hint]);
  useImperativeHandle(ref, () => ({
    text: () => view.current?.state.doc.toString() ?? "",
    selected: () => {
      const state = view.current?.state;
      return state ? state.sliceDoc(state.selection.main.from, state.selection.main.to) : "";
    },
    replace: (text) => {
      const now = view.current;
      now?.dispatch({ changes: { from: 0, to: now.state.doc.length, insert: text }, selection: { anchor: text.length }, scrollIntoView: true });
    },
    insert: (text) => {
      const now = view.current;
      if (!now) return;
      now.dispatch(now.state.replaceSelection(text));
      now.focus();
    },
    focus: () => view.current?.focus(),
    point: (line, column) => {
      const now = view.current;
      if (!now) return;
      const at = now.state.doc.line(Math.min(now.state.doc.lines, Math.max(1, line)));
      now.dispatch({ selection: { anchor: Math.min(at.to, at.from + Math.max(0, column - 1)) }, scrollIntoView: true });
      now.focus();
    },
  }), []);
  return <div ref={box} className="sql-editor" />;
}
