/** The vendor's twelve types as a person would read them, each with what a sample of it may say. */

const TICKET = { noun: "Ticket", icon: "ticket" };
const APPOINTMENT = { noun: "Appointment", icon: "calendar" };
const QUOTE = { noun: "Quote", icon: "quote" };

export const KINDS = {
  NewTicketMessage: {
    ...TICKET,
    icon: "message",
    title: "New message",
    samples: [
      "Ingrid: “Is there any news on this?”",
      "Ingrid: “That did it, thank you!”",
      "Ingrid: “One more thing …”",
    ],
  },
  NewTicket: { ...TICKET, title: "New ticket", samples: ["Invoice lacks a line", "Can’t sign in since Monday"] },
  TicketActivated: { ...TICKET, title: "Ticket is active again", samples: ["Label printer, second floor"] },
  TicketEscalated: { ...TICKET, title: "Ticket escalated", samples: ["Scanners in the warehouse are down"] },
  AppointmentInvitation: { ...APPOINTMENT, title: "Invitation", samples: ["Review, Thursday 10:00"] },
  AppointmentMoved: { ...APPOINTMENT, title: "Appointment moved", samples: ["Site visit, now Friday 14:30"] },
  AppointmentCancelled: { ...APPOINTMENT, title: "Appointment cancelled", samples: ["Lunch with the new partner"] },
  AppointmentDeclined: { ...APPOINTMENT, title: "Invitation declined", samples: ["Workshop, Tuesday 09:00"] },
  QuoteApprovalRequest: { ...QUOTE, title: "Quote to approve", samples: ["48 seats for three years"] },
  QuoteApprovalApproved: { ...QUOTE, title: "Quote approved", samples: ["Extension of the support plan"] },
  QuoteApprovalDenied: { ...QUOTE, title: "Quote denied", samples: ["Discount of 40 %"] },
  Unknown: { noun: "Entity", icon: "bell", title: "Something new", samples: ["Of a kind that this app does not know"] },
};

/** The ticket in which the toolbar writes one message after the other. */
export const TICKET_ID = 4711;

/** What every device shows at first. */
export const FIRST = [
  { Type: "NewTicketMessage", Id: TICKET_ID },
  { Type: "AppointmentInvitation", Id: 698 },
  { Type: "QuoteApprovalRequest", Id: 52 },
];

/** What `Type` and `Id` have in common on every device. */
export function pairOf({ Type, Id }) {
  return `${Type}:${Id}`;
}

/** "New ticket, 4712": the notification in a few spoken words. */
export function spoken({ Type, Id }) {
  return `${KINDS[Type].title}, ${KINDS[Type].noun.toLowerCase()} ${Id}`;
}
