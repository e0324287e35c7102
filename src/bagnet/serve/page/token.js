// The token that a service may ask for.

const KEPT = 'bagnet-token';

/** The token, once the service has taken it; '' where the visitor gives up. `path` is a route that wants it. */
export async function askedToken(path) {
  let token = sessionStorage.getItem(KEPT) ?? prompt('This service asks for a token:');
  while (token !== null) {
    const answer = await fetch(path, { headers: { Authorization: `Bearer ${token}` } }).catch(() => null); // no letters of a header
    if (answer && answer.status !== 401) {
      sessionStorage.setItem(KEPT, token);
      return token;
    }
    token = prompt('The service does not know this token. Its token:');
  }
  sessionStorage.removeItem(KEPT);
  return '';
}
