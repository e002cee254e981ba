// What a page shows while something is read, when that failed, and when there
// is nothing.
import { Fragment } from 'preact';
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';

const againMs = 10_000; // after a failure, where figures are shown already

// stale holds, for each load that shows what it could not read again, when that
// was read. One line says it for the page.
const stale = new Map();
let onStale = () => {};
function setStale(load, at) {
  if (at === undefined) stale.delete(load);
  else stale.set(load, at);
  onStale(stale.size ? Math.min(...stale.values()) : null);
}

// useStale is since when something on the page is not up to date; null: all is.
export function useStale() {
  const [since, set] = useState(null);
  useEffect(() => {
    onStale = set;
    return () => { onStale = () => {}; };
  }, []);
  return since;
}

// useLoad runs a reading function again whenever its key changes. What was read
// before stays until the new is there, or cannot be read. With every it repeats
// after so many milliseconds, while the page is seen, and less often where that
// takes long.
export function useLoad(key, read, { every = 0, enabled = true } = {}) {
  const [state, set] = useState({ loading: true });
  const [turn, again] = useState(0);
  const reading = useRef(read);
  reading.current = read;
  const good = useRef({}); // the key that was read last, and when
  useEffect(() => {
    if (!enabled) return;
    const abort = new AbortController();
    let timer;
    const run = async () => {
      const began = performance.now();
      let pause = every;
      try {
        const data = await reading.current(abort.signal);
        if (abort.signal.aborted) return;
        good.current = { key, at: Date.now() };
        set({ data, key });
        setStale(good);
      } catch (error) {
        if (abort.signal.aborted) return;
        const shown = good.current.key === key;
        set((old) => (shown ? { data: old.data, key, error } : { error }));
        setStale(good, shown ? good.current.at : undefined);
        if (shown) pause ||= againMs;
      }
      if (pause) timer = setTimeout(next, Math.max(pause, 20 * (performance.now() - began)));
    };
    const next = () => {
      if (!document.hidden) return run();
      document.addEventListener('visibilitychange', next, { once: true });
    };
    set((old) => ({ ...old, loading: true }));
    run();
    return () => {
      abort.abort();
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', next);
      setStale(good);
    };
  }, [key, turn, every, enabled]);
  const retry = useCallback(() => again((n) => n + 1), []);
  return { ...state, retry };
}

export function Failed({ what, error, retry }) {
  return (
    <div class="failed" role="alert">
      <p><strong>{what}</strong> {error.message}</p>
      {retry && <button type="button" onClick={retry}>Try again</button>}
    </div>
  );
}

export function Empty({ title, children }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  );
}

export function Skeleton({ rows = 1, tall }) {
  return (
    <div class={'skeleton' + (tall ? ' tall' : '')} aria-hidden="true">
      {Array.from({ length: rows }, (_, i) => <span key={i} />)}
    </div>
  );
}

// Loaded shows what was read, or else its state. What was read before stays
// while it cannot be read again.
export function Loaded({ load, what, skeleton = <Skeleton rows={6} />, children }) {
  if (load.error && !load.data) return <Failed what={what} error={load.error} retry={load.retry} />;
  if (!load.data) return <Fragment key="loading">{skeleton}<p class="unseen" role="status">Loading.</p></Fragment>;
  return <Fragment key="loaded">{children(load.data)}</Fragment>;
}
