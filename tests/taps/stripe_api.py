"""Stripe: lists, newest first, by `created[gte]`, `created[lt]`, `starting_after` and `limit`; changes as events."""

import re
import time

CUSTOMERS = 260
INVOICES = 12
# So many of an invoice's lines are in the invoice itself.
LINES_SHOWN = 10
DAY = 86_400

# The end of the last window that customers were asked for: what comes next is created then.
asked_to = 0


def customer(world, n, created=None, name=None):
    return {
        "id": f"cus_{n:05}", "object": "customer", "created": created or world.now - 10 * DAY + n * 60, "livemode": False,
        "name": name or f"Zoë \"{n}\" \\ O'Neil\n", "email": f"c{n}@example.com", "phone": "" if n % 2 else None,
        "balance": -n, "delinquent": n % 7 == 0, "currency": "eur", "preferred_locales": ["de", "en-GB"] if n % 3 else [],
        "metadata": {"plan": "pro", "seats": str(n)}, "next_invoice_sequence": n,
        "address": {"city": "Köln", "country": "DE", "line1": f"Straße {n}", "line2": None, "postal_code": "50667", "state": ""},
        "invoice_settings": {"custom_fields": None, "default_payment_method": f"pm_{n}", "footer": None},
        "sources": {"object": "list", "url": f"/v1/customers/cus_{n:05}/sources", "has_more": False,
                    "data": [{"id": f"card_{n}", "object": "card", "brand": "Visa", "last4": "4242", "exp_year": 2030}] if n % 5 == 0 else []},
        "a_field_of_next_year": {"n": n},
    }


def line(invoice, n):
    return {
        "id": f"il_{invoice}_{n}", "object": "line_item", "amount": 100 * n + 1, "currency": "eur", "description": f"Line {n}",
        "discountable": True, "livemode": False, "metadata": {}, "period": {"start": 1_760_000_000, "end": 1_760_086_400},
        "proration": False, "quantity": n, "type": "invoiceitem", "tax_amounts": [{"amount": n, "inclusive": False, "tax_rate": "txr_1"}],
    }


def lines_of(n):
    """One invoice has more than it shows."""
    return [line(n, at) for at in range(15 if n == 0 else n % 3 + 1)]


def invoice(world, n):
    lines = lines_of(n)
    created = world.now - 9 * DAY + n * 3_600
    return {
        "id": f"in_{n:05}", "object": "invoice", "created": created, "customer": f"cus_{n:05}", "currency": "eur",
        "amount_due": 1_000 * n, "amount_paid": 0, "total": 1_000 * n, "subtotal": 840 * n, "tax": 160 * n, "paid": n % 2 == 0,
        "status": "paid" if n % 2 == 0 else "open", "period_start": created - DAY, "period_end": created, "due_date": None,
        "livemode": False, "number": f"W-{n}", "metadata": {"po": f"PO {n}"}, "attempted": True, "attempt_count": 1,
        "status_transitions": {"finalized_at": created + 5, "paid_at": created + 60 if n % 2 == 0 else None,
                               "marked_uncollectible_at": None, "voided_at": None},
        "total_tax_amounts": [{"amount": 160 * n, "inclusive": False, "tax_rate": "txr_1"}, {"amount": 0, "inclusive": True, "tax_rate": "txr_2"}],
        "custom_fields": [{"name": "Kostenstelle", "value": f"{n}"}] if n % 4 == 0 else None,
        "lines": {"object": "list", "data": lines[:LINES_SHOWN], "has_more": len(lines) > LINES_SHOWN, "total_count": len(lines),
                  "url": f"/v1/invoices/in_{n:05}/lines"},
    }


def event(n, kind, created, thing):
    return {"id": f"evt_{n:05}", "object": "event", "type": kind, "created": created, "api_version": "2022-11-15", "livemode": False,
            "pending_webhooks": 0, "request": None, "data": {"object": thing}}


def customers(world):
    found = [customer(world, n) for n in range(CUSTOMERS)]
    if world.round == 2:
        found.append(customer(world, CUSTOMERS, created=asked_to))
    return found


def events(world):
    # Of before the seven days that the tap looks back.
    found = [event(n, "customer.updated", world.now - 8 * DAY + n, customer(world, n, name=f"Renamed {n}")) for n in range(3)]
    if world.round == 2:
        changed = [customer(world, n, name=f"Renamed again {n}") for n in (0, 200)] + [customer(world, CUSTOMERS, created=asked_to)]
        kinds = ["customer.updated", "customer.updated", "customer.created"]
        found += [event(100 + n, kinds[n], asked_to, thing) for n, thing in enumerate(changed)]
    return found


def page(things, query):
    """Newest first."""
    first = lambda name, default: query.get(name, [default])[0]
    least, end = int(float(first("created[gte]", "0"))), int(float(first("created[lt]", "99999999999")))
    kind = first("type", "*").removesuffix("*")
    found = [thing for thing in things if least <= thing["created"] < end and thing.get("type", "").startswith(kind)]
    found.sort(key=lambda thing: (thing["created"], thing["id"]), reverse=True)
    return cut(found, query)


def cut(found, query):
    after, limit = query.get("starting_after", [None])[0], int(query.get("limit", ["10"])[0])
    start = next((at + 1 for at, thing in enumerate(found) if thing["id"] == after), 0)
    return {"object": "list", "data": found[start : start + limit], "has_more": start + limit < len(found)}


def answer(world, method, path, query, body):
    global asked_to
    if path.startswith("/v1/accounts/"):
        # The tap asks for what was created before the second that it started in.
        while world.round == 2 and time.time() < asked_to + 1:
            time.sleep(0.1)
        return 200, {"id": "acct_1", "object": "account", "settings": {"dashboard": {"display_name": "Stand-in"}}}
    if path == "/v1/customers":
        if world.round == 1:
            asked_to = max(asked_to, int(query["created[lt]"][0]))
        return 200, {**page(customers(world), query), "url": path}
    if path == "/v1/invoices":
        return 200, {**page([invoice(world, n) for n in range(INVOICES)], query), "url": path}
    if path == "/v1/events":
        return 200, {**page(events(world), query), "url": path}
    found = re.fullmatch(r"/v1/invoices/in_(\d+)/lines", path)
    if found:
        return 200, {**cut(lines_of(int(found[1])), query), "url": path}
    if re.fullmatch(r"/v1/\w+", path):
        return 200, {"object": "list", "data": [], "has_more": False, "url": path}
