"""Salesforce: a login that gives a new refresh token each time and takes the old one no more, descriptions, and queries."""

import re
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qs

OPPORTUNITIES = 250
RECORDS_OF_PAGE = 100
FIELDS = {
    "Account": {"Id": "id", "Name": "string", "BillingAddress": "address", "AnnualRevenue": "currency", "NumberOfEmployees": "int",
                "Logo__c": "base64", "CreatedDate": "datetime", "SystemModstamp": "datetime", "IsDeleted": "boolean"},
    "Opportunity": {"Id": "id", "AccountId": "reference", "Name": "string", "Amount": "currency", "Probability": "percent",
                    "CloseDate": "date", "StageName": "picklist", "IsWon": "boolean", "HasSomething__c": "boolean", "Visits__c": "int",
                    "Place__c": "location", "Calculated__c": "anyType", "OpensAt__c": "time", "IsDeleted": "boolean",
                    "CreatedDate": "datetime", "SystemModstamp": "datetime"},
    # Without a time of change it is read as a whole.
    "Queue": {"Id": "id", "Name": "string"},
}

logins = 0


def written(time):
    return time.strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def records_of(world, name):
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    if name == "Account":
        for n in range(2):
            yield {"Id": f"001{n:012}", "Name": f"Zoë & Söhne {n}", "AnnualRevenue": 1e9 * n, "NumberOfEmployees": n,
                   "BillingAddress": {"street": "Straße 1\n2. Stock", "city": "Köln", "country": "DE", "latitude": 50.9, "longitude": None},
                   "CreatedDate": written(start), "SystemModstamp": written(start), "IsDeleted": False}
    elif name == "Opportunity":
        for n in range(OPPORTUNITIES + (1 if world.round == 2 else 0)):
            changed = start + timedelta(minutes=n)
            won = world.round == 2 and n in (1, 2)
            yield {"Id": f"006{n:012}", "AccountId": f"001{n % 2:012}", "Name": f"Deal {n}", "Amount": n / 4 if n else None, "Probability": 12.5,
                   "CloseDate": "2026-03-01", "StageName": "Closed Won" if won else "Prospecting", "IsWon": won, "HasSomething__c": None,
                   "Visits__c": n, "Place__c": {"latitude": 50.9, "longitude": 6.9} if n % 2 else None, "Calculated__c": "1.5" if n % 2 else "x",
                   "OpensAt__c": "10:00:00.000Z", "IsDeleted": False, "CreatedDate": written(start),
                   "SystemModstamp": written(start + timedelta(days=1, minutes=n) if won else changed)}
    else:
        for n in range(3 if world.round == 1 else 2):
            yield {"Id": f"00G{n:012}", "Name": f"Queue {n}"}


def page(world, soql, start):
    fields, name = re.match(r"SELECT (\S+) FROM (\w+)", soql).groups()
    found = list(records_of(world, name))
    bound = re.search(r"SystemModstamp >= (\S+)", soql)
    if bound:
        least = datetime.fromisoformat(bound[1].replace("Z", "+00:00"))
        time_of = lambda record: datetime.strptime(record["SystemModstamp"], "%Y-%m-%dT%H:%M:%S.%f%z")
        found = sorted((record for record in found if time_of(record) >= least), key=time_of)
    rows = [{"attributes": {"type": name}, **{field: record.get(field) for field in fields.split(",")}} for record in found]
    answer = {"totalSize": len(rows), "done": start + RECORDS_OF_PAGE >= len(rows), "records": rows[start : start + RECORDS_OF_PAGE]}
    if not answer["done"]:
        cursors[start + RECORDS_OF_PAGE] = soql
        answer["nextRecordsUrl"] = f"/services/data/v61.0/query/{start + RECORDS_OF_PAGE}"
    return answer


cursors = {}


def answer(world, method, path, query, body):
    global logins
    if path == "/services/oauth2/token":
        given = parse_qs(body)["refresh_token"][0]
        if given != f"refresh-token-{logins}":
            return 400, {"error": "invalid_grant", "error_description": "expired access/refresh token"}
        logins += 1
        return 200, {"access_token": "access", "instance_url": "https://weir.my.salesforce.com", "refresh_token": f"refresh-token-{logins}"}
    path = path.removeprefix("/services/data/v61.0/")
    if path == "sobjects":
        return 200, {"sobjects": [{"name": name} for name in FIELDS]}
    found = re.fullmatch(r"sobjects/(\w+)/describe", path)
    if found:
        return 200, {"name": found[1], "fields": [{"name": name, "type": kind} for name, kind in FIELDS[found[1]].items()]}
    if path == "queryAll":
        return 200, page(world, query["q"][0], 0)
    found = re.fullmatch(r"query/(\d+)", path)
    if found:
        return 200, page(world, cursors[int(found[1])], int(found[1]))
