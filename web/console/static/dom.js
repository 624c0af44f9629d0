/** The few things that every view does to the document. Nothing here takes HTML. */

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

/** Set text only where it changes, so that nothing is laid out or announced for the same words again. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
