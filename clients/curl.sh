# curl, as functions of a shell. INBOX_URL ends with /graphql; TOKEN is what log_in answers.

# Runs a query or a mutation: graphql '{ "query": …, "variables": … }'
graphql() {
    curl --silent --show-error "$INBOX_URL" \
        --header 'Content-Type: application/json' ${TOKEN:+--header "Authorization: Bearer $TOKEN"} \
        --data-binary "$1"
}

# log_in USERNAME PASSWORD
log_in() {
    graphql '{
        "query": "mutation ($username: String!, $password: String!) { login(username: $username, password: $password) { token userErrors { code } } }",
        "variables": { "username": "'"$1"'", "password": "'"$2"'" }
    }'
}

# set_inbox INPUT
set_inbox() {
    graphql '{
        "query": "mutation ($input: SetEmailInboxInput!) { setEmailInbox(input: $input) { success userErrors { code field } } }",
        "variables": { "input": '"$1"' }
    }'
}

# page [CURSOR]: the inboxes that follow the cursor; CURSOR is a JSON string
page() {
    graphql '{
        "query": "query ($after: String) { emailInboxes(first: 2, after: $after) { nodes { id } pageInfo { hasNextPage endCursor } } }",
        "variables": { "after": '"${1:-null}"' }
    }'
}

# follow [CURSOR]: changes as they come, until the server ends or the connection is lost
follow() {
    curl --silent --show-error --fail-with-body --no-buffer "$INBOX_URL" \
        --header 'Accept: text/event-stream' \
        --header 'Content-Type: application/json' --header "Authorization: Bearer $TOKEN" \
        --data-binary '{
            "query": "subscription ($after: String) { emailInboxChanged(after: $after) { cursor kind id } }",
            "variables": { "after": '"${1:-null}"' }
        }'
}
