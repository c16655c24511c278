import type { Options as CoreOptions, Weir as CoreWeir } from './index.js';

export type { Properties } from './index.js';

export interface Options extends CoreOptions {
  /** Clicks on links to other hosts: `click`, `outbound`. */
  outbound?: boolean;
  /** Clicks on links to files: `click`, `download`. */
  download?: boolean;
  /** Forms that are sent, never what is in them: `submit`, `form`. */
  forms?: boolean;
  /** Engaged time and scroll depth: `engagement`. */
  engagement?: boolean;
  /** Core Web Vitals: `web_vitals`. */
  vitals?: boolean;
  /** Errors that nobody caught: `track`, `js_error`. */
  errors?: boolean;
  /** Pages that were answered with status 404: `track`, `404`. */
  404?: boolean;
}

export interface Weir extends CoreWeir {
  init(options: Options): void;
}

declare const weir: Weir;
export default weir;
