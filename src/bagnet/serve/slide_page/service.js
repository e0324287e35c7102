// What is asked of the service, and its errors in words.

const PAUSE = 1000; // milliseconds until a service that is busy is asked again
const TRIES = 5;

export class Service {
  constructor(token) {
    this.headers = token ? { Authorization: `Bearer ${token}` } : {};
  }

  /** The answer to a request. */
  async ask(path, tries = TRIES) {
    let answer;
    try {
      answer = await fetch(path, { headers: this.headers });
    } catch {
      throw new Error('the service does not answer: is it still running?');
    }
    if (answer.status === 429 && tries > 1) {
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
      return this.ask(path, tries - 1);
    }
    if (!answer.ok) {
      const { detail } = await answer.json().catch(() => ({}));
      throw new Error(typeof detail === 'string' ? detail : `the service answers with the error ${answer.status}`);
    }
    return answer;
  }

  async json(path) {
    return (await this.ask(path)).json();
  }

  async values(path) {
    return new Float32Array(await (await this.ask(path)).arrayBuffer()); // little-endian, as all machines that browsers run on
  }

  /** An address of a picture, for as long as the page lives or until it is revoked. */
  async picture(path) {
    return URL.createObjectURL(await (await this.ask(path)).blob());
  }
}
