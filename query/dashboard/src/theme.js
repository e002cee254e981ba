// The theme is the system's, or the one that somebody chose here.
import { useEffect, useState } from 'preact/hooks';

const key = 'spoor.theme';
const dark = matchMedia('(prefers-color-scheme: dark)');
export const themes = ['auto', 'light', 'dark'];

function stored() {
  try {
    const name = localStorage.getItem(key);
    return themes.includes(name) ? name : 'auto';
  } catch {
    return 'auto'; // no storage for this page
  }
}

const listeners = new Set();
let current = stored();
const show = () => {
  if (current === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = current;
};
show();
const tell = () => listeners.forEach((fn) => fn());
dark.addEventListener('change', tell);

export function setTheme(name) {
  current = name;
  try {
    localStorage.setItem(key, name);
  } catch { /* it holds until the page is closed */ }
  show();
  tell();
}

// useTheme gives the choice, and what it comes to now.
export function useTheme() {
  const [, again] = useState(0);
  useEffect(() => {
    const fn = () => again((n) => n + 1);
    listeners.add(fn);
    return () => listeners.delete(fn);
  }, []);
  return { choice: current, shown: current === 'auto' ? (dark.matches ? 'dark' : 'light') : current };
}
