export interface Libraries {
  /** The class `Marked` of the package marked. */
  Marked: new (options: object) => unknown;
  /** The default export of dompurify. */
  DOMPurify: (window: Window) => unknown;
}

export class MarkdownView {
  constructor(target: Element, libraries: Libraries);
  show(text: string, isWhole?: boolean, labels?: { offset: number; label: string }[]): void;
}
