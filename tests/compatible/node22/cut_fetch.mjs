// A fetch whose answers break off, as a connection that is reset does.

/** `fetch`, whose answers fail after so many bytes; 0: never. */
export function cutAfter(bytes) {
  return async (...args) => {
    const response = await fetch(...args);
    if (!bytes || !response.body) return response;
    const reader = response.body.getReader();
    let left = bytes;
    const cut = new ReadableStream(
      {
        // Only once the client has taken what came before, because an error discards what is queued.
        async pull(controller) {
          const { value, done } = left > 0 ? await reader.read() : {};
          if (!value) return done ? controller.close() : controller.error(new TypeError('terminated'));
          controller.enqueue(value.subarray(0, left));
          left -= value.length;
        },
        cancel: () => reader.cancel(),
      },
      { highWaterMark: 0 },
    );
    return new Response(cut, { status: response.status, headers: response.headers });
  };
}
