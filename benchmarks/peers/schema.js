// The part of the product's schema that is measured, and its resolvers, which all the peers of Node share.
import { GraphQLError } from 'graphql';
import { emailInbox, emailInboxes, setEmailInbox, updateEmailInbox } from './inboxes.js';
import { Refused } from './inputs.js';

const server = 'server: String! port: Int! username: String! secure: Boolean!';

export const typeDefs = `
  scalar DateTime

  type Query {
    emailInbox(id: ID!): EmailInbox
    emailInboxes(
      first: Int, after: String, orderBy: EmailInboxOrder! = { field: NAME, direction: ASC }
    ): EmailInboxConnection!
  }
  type Mutation {
    setEmailInbox(input: SetEmailInboxInput!): SetEmailInboxPayload!
    updateEmailInbox(input: UpdateEmailInboxInput!): UpdateEmailInboxPayload!
  }

  type EmailInbox {
    id: ID! name: String! email: String! active: Boolean! description: String senderInfo: String department: String
    smtp: SmtpConfig! imap: ImapConfig! version: Int! createdAt: DateTime! updatedAt: DateTime!
  }
  type SmtpConfig { ${server} hasPassword: Boolean! }
  type ImapConfig { ${server} hasPassword: Boolean! maxRetries: Int! }
  type EmailInboxConnection { nodes: [EmailInbox!]! pageInfo: PageInfo! }
  type PageInfo { hasNextPage: Boolean! endCursor: String }
  input EmailInboxOrder { field: EmailInboxOrderField! direction: OrderDirection! }
  enum EmailInboxOrderField { NAME }
  enum OrderDirection { ASC }

  input SetEmailInboxInput {
    id: ID name: String! email: String! active: Boolean! description: String senderInfo: String department: String
    smtp: SmtpConfigInput! imap: ImapConfigInput!
  }
  input SmtpConfigInput { ${server} password: String }
  input ImapConfigInput { ${server} password: String maxRetries: Int = 10 }
  input UpdateEmailInboxInput {
    id: ID! name: String email: String active: Boolean description: String senderInfo: String department: String
    smtp: SmtpConfigPatch imap: ImapConfigPatch
  }
  input SmtpConfigPatch { server: String port: Int username: String password: String secure: Boolean }
  input ImapConfigPatch { server: String port: Int username: String password: String secure: Boolean maxRetries: Int }

  type SetEmailInboxPayload { success: Boolean! created: Boolean! emailInbox: EmailInbox userErrors: [UserError!]! }
  type UpdateEmailInboxPayload { success: Boolean! emailInbox: EmailInbox userErrors: [UserError!]! }
  type UserError { code: ErrorCode! message: String! field: [String!] }
  enum ErrorCode { INVALID TOO_LONG TAKEN NOT_FOUND PASSWORD_REQUIRED }
`;

/** Resolvers for a context whose `caller` is who may manage inboxes, or null. */
export const resolvers = {
  Query: {
    emailInbox: (_root, { id }, context) => callerOf(context) && emailInbox(id),
    emailInboxes: (_root, { first, after }, context) => callerOf(context) && emailInboxes(first, after),
  },
  Mutation: {
    setEmailInbox: (_root, { input }, context) =>
      answer(() => {
        const [inbox, created] = setEmailInbox(callerOf(context), input);
        return { emailInbox: inbox, created };
      }),
    updateEmailInbox: (_root, { input }, context) =>
      answer(() => ({ emailInbox: updateEmailInbox(callerOf(context), input) })),
  },
};

function callerOf({ caller }) {
  if (!caller) throw new GraphQLError('Unauthenticated.', { extensions: { code: 'UNAUTHENTICATED' } });
  return caller;
}

function answer(work) {
  try {
    return { success: true, userErrors: [], ...work() };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { success: false, created: false, emailInbox: null, userErrors: error.problems };
  }
}
