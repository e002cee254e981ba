import { useId, useRef } from 'preact/hooks';

// Tabs follow the pattern of ARIA: one is in the order of Tab, arrows move.
// Each tab is {name, label}; children is the panel of the chosen one.
export function Tabs({ label, tabs, chosen, choose, children }) {
  const id = useId();
  const list = useRef();
  const move = (e) => {
    const at = tabs.findIndex((t) => t.name === chosen);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    const next = (to + tabs.length) % tabs.length;
    choose(tabs[next].name);
    list.current.children[next].focus();
  };
  return (
    <>
      <div class="tabs" role="tablist" aria-label={label} ref={list} onKeyDown={move}>
        {tabs.map((t) => (
          <button key={t.name} type="button" role="tab" id={`${id}-${t.name}`} aria-controls={`${id}-panel`} aria-selected={t.name === chosen}
            tabIndex={t.name === chosen ? 0 : -1} onClick={() => choose(t.name)}>{t.label}</button>
        ))}
      </div>
      <div role="tabpanel" id={`${id}-panel`} aria-labelledby={`${id}-${chosen}`} class="panel">{children}</div>
    </>
  );
}
