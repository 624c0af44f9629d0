export interface Libraries {
  /** The class `Marked` of the package marked. */
  Marked: new (options: object) => unknown;
  /** The default export of dompurify. */
  DOMPurify: (window: Window) => unknown;
}

export class MarkdownView {
  constructor(target: Element, libraries: Libraries);
  show(text: string, isWhole?: boolean, labels?: { offset: number; label: string }[]): void;
  /** The offset in the text of what is drawn at this height of the window. */
  offsetAt(y: number): number;
  /** The height in the window of what is drawn at this offset. */
  heightOf(offset: number): number;
}
