/** What JSON can hold, as properties of an event or traits of a person. */
export type Properties = Record<string, unknown>;

export interface Options {
  /** The public key of your site, `pk_...`. */
  key: string;
  /** Where events are sent: `https://collector.example/v1/events`. */
  endpoint: string | URL;
  /** The page routes by `#fragment`: a new fragment is a new page. */
  hash?: boolean;
  /** Nothing is sent or stored until `weir.consent(true)`. */
  consent?: boolean;
}

export interface Weir {
  /** Sends an event of yours. */
  (name: string, properties?: Properties): void;
  /** Begins; call it once, in the browser. On a server it does nothing. */
  init(options: Options): void;
  /** Says who the visitor is, from now on and on later pages. */
  identify(userId?: string | number, traits?: Properties): void;
  /** Forgets who the visitor is: call it when they sign out. */
  reset(): void;
  /** The visitor's decision, which is remembered. */
  consent(given: boolean): void;
}

declare const weir: Weir;
export default weir;
