/** One reader for all components that show the same job in a page: two mounts of a component, or React's StrictMode. */

// An unmount that is followed by a mount at once, as in StrictMode, must not cost a connection.
const LINGER_MS = 200;

const readers = new Map();

/** A reader that is shared under `key`. Returns `{ follow, release }`. */
export function share(key, open) {
  const shared = readers.get(key) ?? { follow: open(), users: 0, timer: null };
  readers.set(key, shared);
  shared.users += 1;
  clearTimeout(shared.timer);
  let isReleased = false;
  const release = () => {
    if (isReleased) return;
    isReleased = true;
    shared.users -= 1;
    if (shared.users === 0) shared.timer = setTimeout(() => close(key, shared), LINGER_MS);
  };
  return { follow: shared.follow, release };
}

function close(key, shared) {
  readers.delete(key);
  shared.follow.stop();
}
