// The script that pages load: options are the data- attributes of its element.
import { guard, init } from './weir.js';

guard(() => {
  const { dataset, src } = document.currentScript;
  // Calls made before this script ran.
  const calls = window.weir?.q || [];
  // Not if this script ran in this page before.
  if (calls.forEach) {
    window.weir = init({ ...dataset, endpoint: dataset.endpoint || new URL('v1/events', src) }, calls);
  }
})();
