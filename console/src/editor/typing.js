// Chromium gives the text that is typed over a selection the selection's looks, by a style attribute, which the page's policy
// forbids and reports. So what is typed over a selection never gets to the browser.
import { EditorView } from '@codemirror/view';

export const replaceByTyping = EditorView.domEventHandlers({
  beforeinput(event, view) {
    const { from, to, empty } = view.state.selection.main;
    const { inputType, data } = event;
    if (inputType != 'insertText' || !data || empty || view.composing) return false;
    event.preventDefault();
    const insert = () => view.state.update(view.state.replaceSelection(data), { userEvent: 'input.type', scrollIntoView: true });
    // Closing brackets around the selection, say.
    const isHandled = view.state.facet(EditorView.inputHandler).some((handle) => handle(view, from, to, data, insert));
    if (!isHandled) view.dispatch(insert());
    return true;
  },
});
