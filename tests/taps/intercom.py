"""Intercom: a search with a cursor, a scroll that ends with 404, and lists."""

import json

CONTACTS = 170
COMPANIES = 3
DAY = 86_400


def contact(world, n):
    updated = world.now - 5 * DAY + n
    if world.round == 2 and n in (3, CONTACTS):
        updated = world.now + n
    return {
        "type": "contact", "id": f"contact-{n:03}", "workspace_id": "w1", "external_id": None, "role": "user", "email": f"c{n}@example.com",
        "name": f"Zoë {n}" if updated < world.now else f"Renamed {n}", "owner_id": 7, "has_hard_bounced": False, "created_at": world.now - 6 * DAY, "updated_at": updated,
        "signed_up_at": None, "last_seen_at": updated if n % 2 else None, "custom_attributes": {"plan": "pro", "seats": n},
        "location": {"type": "location", "country": "Germany", "region": None, "city": "Köln"},
        "social_profiles": {"type": "list", "data": [{"type": "social_profile", "name": "Mastodon", "url": "https://example.com"}] if n == 0 else []},
        "tags": {"type": "list", "data": [{"id": "1", "type": "tag", "url": "/tags/1"}] if n % 2 else [], "url": f"/contacts/{n}/tags",
                 "total_count": n % 2, "has_more": False},
        "companies": {"type": "list", "data": [], "url": f"/contacts/{n}/companies", "total_count": 0, "has_more": False},
    }


def least_of(query):
    """The bound that is asked for: `updated_at` beyond it, or as large."""
    return min(part["value"] for part in query["value"] if part["field"] == "updated_at")


def search(world, asked):
    least, size = least_of(asked["query"]), asked["pagination"]["per_page"]
    count = CONTACTS + (1 if world.round == 2 else 0)
    found = [found for found in (contact(world, n) for n in range(count)) if found["updated_at"] >= least]
    found.sort(key=lambda found: found["updated_at"])
    start = int(asked["pagination"].get("starting_after", 0))
    pages = {"type": "pages", "page": start // size + 1, "per_page": size}
    if start + size < len(found):
        pages["next"] = {"per_page": size, "starting_after": str(start + size)}
    return {"type": "list", "data": found[start : start + size], "total_count": len(found), "pages": pages}


def answer(world, method, path, query, body):
    if path == "/tags":
        return 200, {"type": "list", "data": [{"type": "tag", "id": str(n), "name": f"Tag {n}"} for n in range(3)]}
    if path == "/contacts/search":
        return 200, search(world, json.loads(body))
    if path == "/companies/scroll":
        at = int(query.get("scroll_param", ["0"])[0])
        if at >= COMPANIES:
            return None
        companies = [{"type": "company", "id": f"company-{at}", "company_id": str(at), "name": f"Company {at}", "created_at": world.now - DAY,
                      "updated_at": world.now - DAY + at, "monthly_spend": at / 4, "user_count": at, "session_count": 0, "custom_attributes": {},
                      "plan": {"type": "plan", "id": "1", "name": "Pro"}, "segments": {"type": "segment.list", "segments": []},
                      "tags": {"type": "tag.list", "tags": [{"type": "tag", "id": "1", "name": "Tag 1"}]}}]
        return 200, {"type": "list", "data": companies, "scroll_param": str(at + 1)}
    if path == "/data_attributes":
        names = ["plan", "seats", "old"] if world.round == 1 else ["plan", "seats"]
        return 200, {"type": "list", "data": [{"type": "data_attribute", "name": name, "full_name": f"custom_attributes.{name}", "label": name,
                                               "data_type": "string", "model": "contact", "custom": True, "id": n, "archived": False,
                                               "created_at": world.now - DAY, "updated_at": world.now - DAY, "description": None}
                                              for n, name in enumerate(names)]}
