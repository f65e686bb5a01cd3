"""A real mail server (aiosmtpd) for the tests: it says what it gets, one JSON object a line.

Arguments: "open", or a name and a password without which it takes nothing.
Recipients that begin with "refused" are refused for good, and with "busy" for now.
"""

import asyncio
import email
import email.policy
import json
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("busy"):
            return "450 4.2.1 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        headers = {name.lower(): str(value) for name, value in mail.items()}
        said = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": headers,
            "body": mail.get_content(),
            "defects": [str(defect) for defect in mail.defects],
            "names": sorted(name.lower() for name in mail.keys()),
        }
        print("mail " + json.dumps(said), flush=True)
        return "250 taken"


def authenticator(name, password):
    def check(server, session, envelope, mechanism, data):
        given = (data.login.decode(), data.password.decode())
        if given == (name, password):
            return AuthResult(success=True)
        # A server that tells more than it should.
        message = f"535 5.7.8 wrong password {given[1]}"
        return AuthResult(success=False, handled=False, message=message)

    return check


async def main():
    options = {}
    if sys.argv[1] != "open":
        options = {
            "authenticator": authenticator(sys.argv[1], sys.argv[2]),
            "auth_required": True,
            "auth_require_tls": False,
        }
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Handler(), **options), "127.0.0.1", 0)
    print(f"port {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


asyncio.run(main())
