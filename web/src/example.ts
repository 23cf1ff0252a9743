// Sole purpose: what the editors hold when the page opens; it runs as it stands.

export const headers = JSON.stringify({ "X-User-Id": "", "X-Auth-Token": "" }, null, 2);

export const query = `\
# Fill in "Headers" below, press the run button
# and choose an operation.

# Its input is in "Variables" below.
mutation SetSupportInbox(
  $input: SetEmailInboxInput!
) {
  setEmailInbox(input: $input) {
    success
    created
    emailInbox { id version updatedAt }
    userErrors { code message field }
    warnings { code message field }
  }
}

# Logs in to both servers with what is stored,
# step by step up to the first that fails.
mutation Check {
  checkEmailInbox(input: { id: "support" }) {
    success
    smtp { success stages { ...Stage } }
    imap { success stages { ...Stage } }
    userErrors { code message field }
  }
}

fragment Stage on CheckStage {
  stage
  success
  hint
  error { code message field }
}

# Needs an active inbox: put "active": true in
# "Variables" and run SetSupportInbox again. It goes
# to your own address; after the id, give another
# one with to: "you@example.org".
mutation SendTest {
  sendTestEmail(id: "support") {
    success
    recipient
    smtpCode
    userErrors { code message field }
  }
}

query Inboxes {
  viewer { id username permissions }
  emailInboxes(first: 10) {
    totalCount
    nodes { id name email active version }
  }
}

# Waits for changes. Run it, then change an inbox
# in another window.
subscription Changes {
  emailInboxChanged {
    kind
    changedAt
    emailInbox { id name email active version }
  }
}
`;

export const variables = JSON.stringify(
  {
    input: {
      id: "support",
      name: "Support",
      email: "support@example.org",
      active: false,
      smtp: {
        server: "smtp.example.org",
        port: 587,
        username: "support@example.org",
        password: "change-me",
        secure: true,
      },
      imap: {
        server: "imap.example.org",
        port: 993,
        username: "support@example.org",
        password: "change-me",
        secure: true,
      },
    },
  },
  null,
  2,
);
