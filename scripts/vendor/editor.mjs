// An ADQL editor in the place of a textarea, bundled by build.sh from CodeMirror.
//
// It lives in a shadow tree: only there CodeMirror puts its rules into constructed style sheets, which a page's
// `style-src 'self'` allows; in a document it would write a style element.
import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { SQLDialect, sql } from "@codemirror/lang-sql";
import { HighlightStyle, bracketMatching, syntaxHighlighting } from "@codemirror/language";
import { lintGutter, setDiagnostics } from "@codemirror/lint";
import { Compartment, EditorState, Prec } from "@codemirror/state";
import { EditorView, drawSelection, highlightActiveLine, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";

const KEYWORDS =
  "all and any as asc between by case coalesce cross desc distinct else end except exists false from full group having " +
  "ilike in inner intersect is join left like natural not null offset on or order outer right select then top true " +
  "union using when where with";
const FUNCTIONS =
  "abs acos area asin atan atan2 avg boundary box cast ceiling centroid circle contains coord1 coord2 cos cot count " +
  "degrees distance exp floor in_unit intersects ivo_healpix_center ivo_healpix_index ivo_interval_overlaps " +
  "ivo_string_agg log log10 lower max min mod pi point polygon power radians rand round sign sin sqrt sum tan " +
  "truncate upper";
const ADQL = SQLDialect.define({
  keywords: KEYWORDS,
  builtin: FUNCTIONS,
  types: "bigint char double integer precision real smallint timestamp varchar",
});

const colours = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--code-keyword)", fontWeight: "600" },
  { tag: [tags.standard(tags.name), tags.typeName], color: "var(--code-function)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--code-text)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--code-number)" },
  { tag: tags.comment, color: "var(--quiet)", fontStyle: "italic" },
]);
const theme = EditorView.theme({
  "&": { color: "var(--ink)", backgroundColor: "var(--paper)", fontSize: "0.95rem" },
  "&.cm-focused": { outline: "3px solid var(--link)", outlineOffset: "2px" },
  ".cm-content": {
    fontFamily: "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace",
    caretColor: "var(--ink)",
    minHeight: "9rem",
    padding: "0.5rem 0",
  },
  ".cm-scroller": { maxHeight: "24rem", overflow: "auto" },
  ".cm-gutters": { backgroundColor: "var(--soft)", color: "var(--quiet)", border: "none" },
  ".cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--soft) 55%, transparent)" },
  ".cm-cursor": { borderLeftColor: "var(--ink)" },
  "&.cm-focused .cm-selectionBackground, .cm-selectionBackground": {
    background: "color-mix(in srgb, var(--link) 28%, transparent) !important",
  },
  ".cm-matchingBracket": { backgroundColor: "color-mix(in srgb, var(--link) 22%, transparent)" },
  ".cm-tooltip": { color: "var(--ink)", backgroundColor: "var(--paper)", border: "1px solid var(--line)" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { color: "#ffffff", backgroundColor: "var(--blue)" },
  ".cm-completionDetail": { color: "inherit", opacity: "0.8", fontStyle: "normal", marginLeft: "0.75rem" },
  ".cm-diagnostic": { padding: "0.3rem 0.6rem", maxWidth: "36rem" },
});

/** Return completions of tables and columns, with units and UCDs beside them. */
function completions(tables) {
  const schema = {};
  for (const table of tables) {
    const [name, word] = [table.name.split("."), (text) => (/^[A-Za-z][A-Za-z0-9_]*$/.test(text) ? text : `"${text}"`)];
    const columns = table.columns.map((column) => ({
      label: column.name,
      apply: word(column.name),
      type: "property",
      detail: [column.unit, column.ucd].filter(Boolean).join("  "),
      info: column.description || undefined,
    }));
    schema[name[0]] ??= {};
    schema[name[0]][name.slice(1).join(".")] = columns;
  }
  return schema;
}

/**
 * Put an editor before a textarea and hide that; it keeps the text for the form.
 *
 * `run` is called by Ctrl-Enter, `changed` after each change. What is returned can insert and mark.
 */
export function mount(textarea, { run, changed, label }) {
  const host = document.createElement("div");
  host.className = "editor";
  textarea.before(host);
  const root = host.attachShadow({ mode: "open" });
  const language = new Compartment();
  const support = (tables) => sql({ dialect: ADQL, schema: completions(tables), upperCaseKeywords: true });
  const view = new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: textarea.value,
      extensions: [
        Prec.highest(keymap.of([{ key: "Mod-Enter", run: () => (run(), true) }])),
        lineNumbers(),
        history(),
        drawSelection(),
        bracketMatching(),
        closeBrackets(),
        autocompletion(),
        highlightActiveLine(),
        lintGutter(),
        language.of(support([])),
        syntaxHighlighting(colours),
        theme,
        EditorView.lineWrapping,
        EditorView.contentAttributes.of({ "aria-label": label, "aria-multiline": "true", spellcheck: "false" }),
        // Tab leaves the editor: a keyboard must not be caught in it.
        keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...historyKeymap, ...completionKeymap]),
        EditorView.domEventHandlers({
          // Over a selection Chromium keeps the look of the replaced word in a style attribute, which the page's
          // policy refuses.
          beforeinput(event, view) {
            if (event.inputType !== "insertText" || !event.data || view.state.selection.main.empty) return false;
            event.preventDefault();
            const change = view.state.replaceSelection(event.data);
            view.dispatch(view.state.update(change, { userEvent: "input.type", scrollIntoView: true }));
            return true;
          },
        }),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) {
            textarea.value = update.state.doc.toString();
            changed(textarea.value);
          }
        }),
      ],
    }),
  });
  textarea.hidden = true;
  return {
    view,
    focus: () => view.focus(),
    complete: (tables) => view.dispatch({ effects: language.reconfigure(support(tables)) }),
    insert(text) {
      const { from, to } = view.state.selection.main;
      const before = view.state.sliceDoc(Math.max(0, from - 1), from);
      const words = before && !/[\s.(]/.test(before) ? ` ${text}` : text;
      view.dispatch({ changes: { from, to, insert: words }, selection: { anchor: from + words.length } });
      view.focus();
    },
    replace(text) {
      view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
    },
    /** Underline what is wrong: a line and a column that counts characters, both from 1; none takes the marks away. */
    mark(faults) {
      const diagnostics = faults.map(({ line, column, message }) => {
        const place = view.state.doc.line(Math.min(Math.max(line, 1), view.state.doc.lines));
        const units = [...place.text].slice(0, column - 1).join("").length; // CodeMirror counts UTF-16 units
        const from = Math.min(place.from + units, place.to);
        const word = /^(?:[\p{L}\p{N}_]+|\S)/u.exec(place.text.slice(from - place.from));
        const to = word ? from + word[0].length : from;
        return { from: to > from ? from : Math.max(place.from, from - 1), to, severity: "error", message };
      });
      view.dispatch(setDiagnostics(view.state, diagnostics));
    },
  };
}
