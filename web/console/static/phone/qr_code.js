/**
 * QR codes (ISO/IEC 18004) of texts: bytes in UTF-8, error correction level L, the smallest version that has room.
 *
 * Level L, because a code on a screen is whole, and fewer modules are larger ones.
 */

const CHECK_BYTES =
  "7 10 15 20 26 18 20 24 30 18 20 24 26 30 22 24 28 30 28 28 28 28 30 30 26 28 30 30 30 30 30 30 30 30 30 30 30 30 30 30"
    .split(" ")
    .map(Number);
const BLOCKS = "1 1 1 1 1 2 2 2 2 4 4 4 4 4 6 6 6 6 7 8 8 9 9 10 12 12 12 13 14 15 16 17 18 19 19 20 21 22 24 25"
  .split(" ")
  .map(Number);
const [LEVEL_L, MOST_VERSION] = [1, 40];

/** The code of a text as rows of modules, true for dark ones. Throws a RangeError for more than 2,953 bytes. */
export function qrCode(text) {
  const data = new TextEncoder().encode(text);
  const version = smallestVersion(data.length);
  const codewords = interleaved(paddedBits(data, version), version);
  const masked = MASKS.map((mask, index) => {
    const grid = new Grid(version);
    grid.place(codewords, mask);
    grid.format(index);
    return grid.rows;
  });
  // The standard chooses the mask with the least penalty.
  return masked.reduce((best, rows) => (penalty(rows) < penalty(best) ? rows : best));
}

function smallestVersion(bytes) {
  for (let version = 1; version <= MOST_VERSION; version += 1) {
    if (4 + lengthBits(version) + 8 * bytes <= 8 * dataBytes(version)) return version;
  }
  throw new RangeError(`${bytes} bytes are too many for a QR code: at most 2953`);
}

const lengthBits = (version) => (version < 10 ? 8 : 16);
const dataBytes = (version) => rawBytes(version) - CHECK_BYTES[version - 1] * BLOCKS[version - 1];

/** The number of codewords that fit into the modules outside the patterns. */
function rawBytes(version) {
  const aligned = version > 1 ? Math.floor(version / 7) + 2 : 0;
  const ofAlignment = aligned ? (25 * aligned - 10) * aligned - 55 : 0;
  return ((16 * version + 128) * version + 64 - ofAlignment - (version > 6 ? 36 : 0)) >> 3;
}

/** Mode, length, data, terminator and padding as bytes. */
function paddedBits(data, version) {
  const bits = [];
  const add = (value, count) => {
    for (let bit = count - 1; bit >= 0; bit -= 1) bits.push((value >> bit) & 1);
  };
  add(4, 4);
  add(data.length, lengthBits(version));
  for (const byte of data) add(byte, 8);
  const room = 8 * dataBytes(version);
  add(0, Math.min(4, room - bits.length));
  add(0, -bits.length & 7);
  for (let pad = 0xec; bits.length < room; pad ^= 0xec ^ 0x11) add(pad, 8);
  return Array.from({ length: bits.length / 8 }, (_, at) => parseInt(bits.slice(8 * at, 8 * at + 8).join(""), 2));
}

/** Data and check bytes, a column of all blocks at a time. */
function interleaved(data, version) {
  const [count, checked] = [BLOCKS[version - 1], CHECK_BYTES[version - 1]];
  const short = Math.floor(data.length / count);
  const longer = data.length % count;
  const divisor = generator(checked);
  const blocks = [];
  for (let index = 0, from = 0; index < count; index += 1) {
    const length = short + (index >= count - longer ? 1 : 0);
    blocks.push(data.slice(from, from + length));
    from += length;
  }
  const checks = blocks.map((block) => remainder(block, divisor));
  return [...columns(blocks, short + 1), ...columns(checks, checked)];
}

function* columns(blocks, length) {
  for (let at = 0; at < length; at += 1) {
    for (const block of blocks) if (at < block.length) yield block[at];
  }
}

/** The product of two elements of GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1. */
function times(a, b) {
  let product = 0;
  for (let bit = 7; bit >= 0; bit -= 1) product = (product << 1) ^ ((product >> 7) * 0x11d) ^ (((b >> bit) & 1) * a);
  return product;
}

/** The Reed-Solomon generator polynomial of this degree, without its leading coefficient. */
function generator(degree) {
  const coefficients = [...Array(degree - 1).fill(0), 1];
  for (let power = 0, root = 1; power < degree; power += 1, root = times(root, 2)) {
    coefficients.forEach((value, at) => (coefficients[at] = times(value, root) ^ (coefficients[at + 1] ?? 0)));
  }
  return coefficients;
}

function remainder(data, divisor) {
  const rest = Array(divisor.length).fill(0);
  for (const byte of data) {
    const factor = byte ^ rest.shift();
    rest.push(0);
    divisor.forEach((coefficient, at) => (rest[at] ^= times(coefficient, factor)));
  }
  return rest;
}

const MASKS = [
  (x, y) => (x + y) % 2,
  (x, y) => y % 2,
  (x) => x % 3,
  (x, y) => (x + y) % 3,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2,
  (x, y) => ((x * y) % 2) + ((x * y) % 3),
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2,
];

/** The modules of one code, with its patterns. A pattern's modules take no data. */
class Grid {
  constructor(version) {
    this.size = 4 * version + 17;
    this.rows = Array.from({ length: this.size }, () => Array(this.size).fill(false));
    this.isPattern = Array.from({ length: this.size }, () => Array(this.size).fill(false));
    this.#patterns(version);
  }

  /** Data along columns of two, from the right, up and down in turn, inverted where the mask is 0. */
  place(codewords, mask) {
    let bit = 0;
    for (let right = this.size - 1; right > 0; right -= 2) {
      if (right === 6) right = 5;
      for (let step = 0; step < this.size; step += 1) {
        const y = ((right + 1) & 2) === 0 ? this.size - 1 - step : step;
        for (const x of [right, right - 1]) {
          if (this.isPattern[y][x]) continue;
          const isSet = ((codewords[bit >> 3] >> (7 - (bit & 7))) & 1) === 1;
          this.rows[y][x] = isSet !== (mask(x, y) === 0);
          bit += 1;
        }
      }
    }
  }

  /** Level and mask, with their check bits, twice. */
  format(mask) {
    const bits = withRemainder((LEVEL_L << 3) | mask, 10, 0x537) ^ 0x5412;
    const end = this.size - 1;
    for (let at = 0; at < 15; at += 1) {
      const isDark = ((bits >> at) & 1) === 1;
      const [x, y] = at < 8 ? [8, at + (at > 5 ? 1 : 0)] : [at === 8 ? 7 : 14 - at, 8];
      this.#set(x, y, isDark);
      if (at < 8) this.#set(end - at, 8, isDark);
      else this.#set(8, end - 14 + at, isDark);
    }
    this.#set(8, end - 7, true);
  }

  #patterns(version) {
    const end = this.size - 1;
    for (let at = 0; at < this.size; at += 1) {
      this.#set(6, at, at % 2 === 0);
      this.#set(at, 6, at % 2 === 0);
    }
    for (const [x, y] of [[3, 3], [end - 3, 3], [3, end - 3]]) this.#square(x, y, 4, [0, 1, 3]);
    const centres = alignments(version);
    const last = centres.length - 1;
    centres.forEach((x, column) => centres.forEach((y, row) => {
      const isCorner = (column === 0 && (row === 0 || row === last)) || (column === last && row === 0);
      if (!isCorner) this.#square(x, y, 2, [0, 2]);
    }));
    this.format(0);
    if (version < 7) return;
    const bits = withRemainder(version, 12, 0x1f25);
    for (let at = 0; at < 18; at += 1) {
      const [across, along, isDark] = [end - 10 + (at % 3), Math.floor(at / 3), ((bits >> at) & 1) === 1];
      this.#set(across, along, isDark);
      this.#set(along, across, isDark);
    }
  }

  /** Rings around a centre, dark at these distances. */
  #square(centreX, centreY, reach, dark) {
    for (let dy = -reach; dy <= reach; dy += 1) {
      for (let dx = -reach; dx <= reach; dx += 1) {
        this.#set(centreX + dx, centreY + dy, dark.includes(Math.max(Math.abs(dx), Math.abs(dy))));
      }
    }
  }

  #set(x, y, isDark) {
    if (x < 0 || y < 0 || x >= this.size || y >= this.size) return;
    this.rows[y][x] = isDark;
    this.isPattern[y][x] = true;
  }
}

/** A value followed by its remainder, as BCH codes have it. */
function withRemainder(value, degree, divisor) {
  let rest = value << degree;
  for (let bit = 31 - Math.clz32(rest); bit >= degree; bit -= 1) {
    if ((rest >> bit) & 1) rest ^= divisor << (bit - degree);
  }
  return (value << degree) | rest;
}

/** The coordinates of the alignment patterns' centres, for both axes. */
function alignments(version) {
  if (version === 1) return [];
  const count = Math.floor(version / 7) + 2;
  const step = Math.floor((version * 8 + count * 3 + 5) / (count * 4 - 4)) * 2;
  const size = 4 * version + 17;
  return [6, ...Array.from({ length: count - 1 }, (_, at) => size - 7 - (count - 2 - at) * step)];
}

/** The penalty of a masked code: for runs, squares and an uneven share of dark modules. */
function penalty(rows) {
  const size = rows.length;
  let points = 0;
  let dark = 0;
  const lines = [...rows, ...rows.map((_, x) => rows.map((row) => row[x]))];
  for (const line of lines) {
    const text = line.map(Number).join("");
    for (const [run] of text.matchAll(/0{5,}|1{5,}/g)) points += run.length - 2;
    points += 40 * (text.match(/(?=00001011101|10111010000)/g) ?? []).length;
  }
  for (let y = 0; y < size; y += 1) {
    for (let x = 0; x < size; x += 1) {
      dark += rows[y][x];
      const isSquare = y && x && rows[y][x] === rows[y - 1][x] && rows[y][x] === rows[y][x - 1];
      if (isSquare && rows[y][x] === rows[y - 1][x - 1]) points += 3;
    }
  }
  return points + 10 * Math.floor(Math.abs((20 * dark) / (size * size) - 10));
}
