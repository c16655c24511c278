"""The FastAPI peer: takes beacons, one INSERT an event."""

import json
import os
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, ValidationError

# Several workers may start at once, and IF NOT EXISTS alone lets them collide.
SCHEMA = """
SELECT pg_advisory_xact_lock(7202211);
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
)
"""

INSERT = """
INSERT INTO peer.events (name, message_id, visitor_id, url, referrer, title, properties, ip, user_agent)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""


class Event(BaseModel):
    type: str
    name: str | None = None
    id: str
    visitor_id: str | None = None
    url: str | None = None
    referrer: str | None = None
    title: str | None = None
    properties: dict[str, Any] | None = None


class Beacon(BaseModel):
    key: str
    events: list[Event]


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with asyncpg.create_pool(os.environ["DATABASE_URL"]) as pool:
        await pool.execute(SCHEMA)
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/events")
async def collect(request: Request):
    # FastAPI parses a body by itself only if it is declared as JSON; beacons say text/plain.
    try:
        beacon = Beacon.model_validate_json(await request.body())
    except ValidationError as error:
        raise HTTPException(422, error.errors(include_url=False, include_context=False, include_input=False)) from error
    ip = request.client.host if request.client else None
    user_agent = request.headers.get("user-agent")
    async with request.app.state.pool.acquire() as connection:
        for event in beacon.events:
            # Commits by itself.
            await connection.execute(
                INSERT,
                event.name or event.type,
                event.id,
                event.visitor_id,
                event.url,
                event.referrer,
                event.title,
                None if event.properties is None else json.dumps(event.properties),
                ip,
                user_agent,
            )
    return {"accepted": len(beacon.events)}
