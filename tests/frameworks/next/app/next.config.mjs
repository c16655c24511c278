import { join } from 'node:path';

// Where node_modules is.
export default { turbopack: { root: join(import.meta.dirname, '../..') } };
