import { createContext } from 'preact';
import { useContext } from 'preact/hooks';

// The session says which app is shown and what may be done, and writes moments
// in the app's time zone.
export const SessionContext = createContext(null);
export const useSession = () => useContext(SessionContext);

const roles = ['read', 'write', 'erase', 'admin'];
export const may = (session, role) => !session.public && roles.indexOf(session.role) >= roles.indexOf(role);
