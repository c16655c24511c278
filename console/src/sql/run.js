// One run at a time: started, waited for, cancelled.
import { request } from '../http.js';

const WAIT_S = 20;
// Between two looks, if the server answers at once that it is still running.
const PAUSE_MS = 250;
// A server that restarts, a network that changes: the run goes on meanwhile.
const ATTEMPTS = 5;

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export class Run {
  // Resolves once the run is over, to the server's answer. `onRunning` gets the milliseconds that it has taken so far.
  static async start(asked, onRunning) {
    const { run } = await request('/sql/runs', { method: 'POST', body: asked });
    return new Run(run, onRunning);
  }

  constructor(id, onRunning) {
    this.id = id;
    this.onRunning = onRunning;
  }

  async over() {
    let failures = 0;
    for (;;) {
      const asked = performance.now();
      try {
        const answer = await request(`/sql/runs/${encodeURIComponent(this.id)}?wait=${WAIT_S}`);
        if (answer.state != 'running') return answer;
        failures = 0;
        this.onRunning(answer.elapsed_ms);
      } catch (error) {
        // Only what may pass is tried again.
        if ((error.status != 0 && error.status < 500) || ++failures >= ATTEMPTS) throw error;
        await pause(PAUSE_MS * 2 ** failures);
      }
      if (performance.now() - asked < PAUSE_MS) await pause(PAUSE_MS);
    }
  }

  cancel() {
    return request(`/sql/runs/${encodeURIComponent(this.id)}/cancel`, { method: 'POST' });
  }
}
