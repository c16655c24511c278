// Chromium gives the text that is typed over a selection the selection's looks, by a style attribute, which the page's policy
// forbids and reports. So what is typed over a selection never gets to the browser.
import { EditorView } from '@codemirror/view';

export const replaceByTyping = EditorView.domEventHandlers({
  beforeinput(event, view) {
    const { inputType, data } = event;
    const selected = view.root.getSelection();
    if (inputType != 'insertText' || !data || !selected.rangeCount || selected.isCollapsed || view.composing) return false;
    event.preventDefault();
    // The browser's selection may be newer than the editor's.
    const ends = [[selected.anchorNode, selected.anchorOffset], [selected.focusNode, selected.focusOffset]].map((end) => view.posAtDOM(...end));
    const [from, to] = [Math.min(...ends), Math.max(...ends)];
    const { main, ranges } = view.state.selection;
    if (ranges.length == 1 && (from != main.from || to != main.to)) view.dispatch({ selection: { anchor: from, head: to } });
    const insert = () => view.state.update(view.state.replaceSelection(data), { userEvent: 'input.type', scrollIntoView: true });
    // Closing brackets around the selection, say.
    const isHandled = view.state.facet(EditorView.inputHandler).some((handle) => handle(view, from, to, data, insert));
    if (!isHandled) view.dispatch(insert());
    return true;
  },
});
