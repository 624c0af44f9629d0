/** Functions that every view uses on the document. None takes HTML. */

export const byId = (id) => document.getElementById(id);

/** A new element: its properties, then its children (nodes or text). */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Sets text only if it changes, so that equal text causes no layout and no announcement. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
