// The Express peer: takes beacons, one INSERT an event.
'use strict';

const express = require('express');
const { Pool } = require('pg');

const SCHEMA = `
CREATE SCHEMA IF NOT EXISTS peer;
CREATE TABLE IF NOT EXISTS peer.events (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    received_at timestamptz DEFAULT now(),
    name text,
    message_id text,
    visitor_id text,
    url text,
    referrer text,
    title text,
    properties jsonb,
    ip text,
    user_agent text
)`;

// Named, so that a connection prepares it once.
const INSERT = {
    name: 'insert-event',
    text: `
INSERT INTO peer.events (name, message_id, visitor_id, url, referrer, title, properties, ip, user_agent)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
};

const pool = new Pool({ connectionString: process.env.DATABASE_URL });
// Without a listener, the loss of an idle connection would end the process.
pool.on('error', (error) => console.error(error));

const app = express();
// Beacons are JSON that says text/plain.
app.use(express.json({ type: ['application/json', 'text/plain'] }));

app.post('/v1/events', async (req, res) => {
    const { key, events } = req.body ?? {};
    if (typeof key !== 'string' || !Array.isArray(events)) {
        res.status(400).json({ error: 'key and events are needed' });
        return;
    }
    for (const event of events) {
        // Commits by itself.
        await pool.query({
            ...INSERT,
            values: [
                event.name ?? event.type,
                event.id,
                event.visitor_id,
                event.url,
                event.referrer,
                event.title,
                event.properties,
                req.ip,
                req.get('user-agent'),
            ],
        });
    }
    res.json({ accepted: events.length });
});

async function main() {
    await pool.query(SCHEMA);
    const server = app.listen(Number(process.env.PORT), '127.0.0.1', (error) => {
        if (error) throw error;
    });
    process.once('SIGTERM', () => {
        server.close(() => pool.end());
        // A connection that never sent a request counts as a busy one.
        setTimeout(() => server.closeAllConnections(), 1000).unref();
    });
}

main();
