package spoor

import "strings"

// The purposes for which attributes are kept, unless the app says otherwise.
const (
	PurposeAccount   = "account"   // to know who it is, and what was asked for the person
	PurposeContact   = "contact"   // to reach the person
	PurposeMarketing = "marketing" // to address the person
	PurposeAnalytics = "analytics" // to understand what is used
)

var purposes = map[string]string{
	"id": PurposeAccount, "key": PurposeAccount, "mobile_id": PurposeContact,
	"restricted_until": PurposeAccount, "objected_at": PurposeAccount, "held_until": PurposeAccount,
	"created_at": PurposeAnalytics, "updated_at": PurposeAnalytics, "first_seen": PurposeAnalytics, "last_seen": PurposeAnalytics,
	"page_views": PurposeAnalytics, "events": PurposeAnalytics, "visits": PurposeAnalytics,
	"last_contacted": PurposeMarketing, "last_heard_from": PurposeMarketing, "last_email_opened": PurposeMarketing, "last_email_clicked": PurposeMarketing,
	AttrUserID: PurposeAccount, AttrName: PurposeAccount, AttrFirstName: PurposeAccount, AttrLastName: PurposeAccount,
	AttrStatus: PurposeAccount, AttrAssignedTo: PurposeAccount, AttrGravatar: PurposeAccount,
	AttrEmail: PurposeContact, AttrPhone: PurposeContact, AttrWebPush: PurposeContact, AttrNotifications: PurposeContact,
	AttrGender: PurposeMarketing, AttrScore: PurposeMarketing, AttrUnsubscribed: PurposeMarketing,
	AttrFacebook: PurposeMarketing, AttrLinkedIn: PurposeMarketing, AttrTwitter: PurposeMarketing, AttrGoogle: PurposeMarketing,
}

// Purpose is what an attribute is kept for: what the app's setting says, else by
// the table, else marketing for the customer's own attributes and analytics for
// what spoor finds out.
func (a *App) Purpose(name string) string {
	for _, p := range a.Settings.Purposes {
		if n, purpose, _ := strings.Cut(p, ":"); n == name {
			return purpose
		}
	}
	if p := purposes[name]; p != "" {
		return p
	}
	if _, standard := Standard[name]; standard {
		return PurposeAnalytics
	}
	return PurposeMarketing
}

// Recipients lists to whom data of the app goes: what the customer says, and
// what spoor itself is told to send.
func (a *App) Recipients() []string {
	list := append([]string(nil), a.Settings.Recipients...)
	if a.Settings.Webhook != "" {
		list = append(list, "webhook "+a.Settings.Webhook+" (public ids of who objected, is restricted or was erased)")
	}
	if topic := a.Settings.FeedTopic; topic != "" && a.Settings.FeedDays > 0 {
		list = append(list, "Kafka topic "+topic+" (all hits and profiles with their attributes, as they are stored)")
	} else if target := a.Settings.FeedTarget(); target != "" {
		how := "as they are stored"
		if strings.HasPrefix(target, "http:") {
			how += ", IN CLEAR TEXT"
		}
		list = append(list, "feed webhook "+target+" (all hits and profiles with their attributes, "+how+")")
	}
	return list
}
