/** Line numbers of a file of JSON lines, as an editor shows them. The server counts jobs without blank lines. */

const BLANKS_MOST = 200;
const [LINE_FEED, SPACES] = [10, new Set([9, 11, 12, 13, 32])];

/** The numbers of the file's blank lines, from 1; null if there are too many to keep. */
export async function blankLines(file) {
  const blanks = [];
  let [line, isBlank] = [1, true];
  for (const reader = file.stream().getReader(); ; ) {
    const { value, done } = await reader.read();
    if (done) return blanks;
    for (const byte of value) {
      if (byte !== LINE_FEED) {
        isBlank &&= SPACES.has(byte);
        continue;
      }
      if (isBlank) blanks.push(line);
      if (blanks.length > BLANKS_MOST) {
        await reader.cancel();
        return null;
      }
      line += 1;
      isBlank = true;
    }
  }
}

/** The line of the job with this index. */
export function lineOf(index, blanks) {
  let line = index + 1;
  for (const blank of blanks) if (blank <= line) line += 1;
  return line;
}
