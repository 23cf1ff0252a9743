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
