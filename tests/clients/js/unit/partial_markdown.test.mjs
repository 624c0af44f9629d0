import assert from 'node:assert/strict';
import { test } from 'node:test';
import { closed } from '../../../../clients/js/src/partial_markdown.js';

const CASES = {
  'whole text stays': ['# A\n\nsome **bold** `code` [link](http://a) 2 * 3 snake_case_name', null],
  'bold': ['some **bo', 'some **bo**'],
  'bold before a space': ['some **bold ', 'some **bold** '],
  'bold that has half its end': ['some **bold*', 'some **bold**'],
  'a mark with nothing after it': ['some **', 'some '],
  'emphasis in bold': ['**a *b', '**a *b***'],
  'struck': ['~~no', '~~no~~'],
  'emphasis over lines': ['*one\ntwo', '*one\ntwo*'],
  'a paragraph before is left alone': ['a * b **c\n\nplain', null],
  'code': ['run `make', 'run `make`'],
  'marks in code are none': ['run `a ** b` and', null],
  'a link without its address': ['see [the docs](https://exa', 'see the docs'],
  'a link without its end': ['see [the do', 'see the do'],
  'an image': ['![alt](http', 'alt'],
  'a task': ['- [ ] write\n- [x] read', null],
  'an escaped mark': ['a \\** b \\[c', null],
  'an open fence': ['```js\nconst a = **', null],
  'a fence with half its end': ['```\ncode\n``', '```\ncode'],
  'a fence that begins': ['text\n``', 'text\n'],
  'after a fence': ['```\na ** b\n```\n**c', '```\na ** b\n```\n**c**'],
  'the line under a heading': ['Title\n--', 'Title\n'],
  'a number that may be a list': ['text\n1.', 'text\n'],
  'the head of a table': ['text\n\n| a | b', 'text\n\n'],
  'a table without its second line': ['| a | b |\n|--', ''],
  'a table': ['| a | b |\n|---|---|\n| 1', null],
};

for (const [name, [text, expected]] of Object.entries(CASES)) {
  test(name, () => assert.equal(closed(text), expected ?? text));
}

test('no prefix of a text takes long or fails', () => {
  const text = '# T\n\n**b** _e_ `c` [l](http://x) | a |\n\n```js\nx\n```\n\n1. a\n2. b\n'.repeat(20);
  for (let end = 0; end <= text.length; end += 1) closed(text.slice(0, end));
});

test('a long paragraph of half-open links is shown as it is', () => {
  const text = '['.repeat(200_000);
  assert.equal(closed(text), text);
});
