import { useEffect, useRef, useState } from 'preact/hooks';
import { submit } from './api.js';
import { Mark, ThemeToggle } from './header.jsx';

export function Login({ ended, entered }) {
  const [trouble, setTrouble] = useState(ended ? 'The session has ended. Log in again.' : '');
  const [busy, setBusy] = useState(false);
  const field = useRef();
  useEffect(() => {
    document.title = 'Log in · spoor';
    field.current.focus();
  }, []);
  const enter = async (e) => {
    e.preventDefault();
    const token = field.current.value.trim();
    if (!token) return setTrouble('Type a token; spoor app tokens makes one.');
    setBusy(true);
    setTrouble('');
    try {
      await submit('login', { token });
      await entered();
    } catch (error) {
      setTrouble(error.message);
      field.current?.select();
    }
    return setBusy(false);
  };
  return (
    <main class="login">
      <div class="login-top"><ThemeToggle /></div>
      <form class="card" onSubmit={enter} noValidate>
        <div class="login-name"><Mark /><h1>spoor</h1></div>
        <label for="token">Token</label>
        <input id="token" ref={field} type="password" name="token" autoComplete="current-password" autoCapitalize="off" spellcheck={false} maxLength={512}
          aria-invalid={trouble ? 'true' : undefined} aria-describedby="trouble" />
        <p id="trouble" class="trouble" role="alert">{trouble}</p>
        <button class="primary" disabled={busy}>{busy ? 'Logging in…' : 'Log in'}</button>
        <p class="hint">A token of an app with the role read or more. Make one with</p>
        <code class="block">spoor app tokens APP --create me --role read</code>
      </form>
    </main>
  );
}
