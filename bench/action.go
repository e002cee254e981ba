package main

import "fmt"

// action is what a visitor does: a page or an event, without who and when.
type action struct {
	kind, name      string // of the native protocol
	path, title     string
	query, referrer string
	properties      string // JSON object, or empty
}

const actionCount = 24

// actions are two thirds pages. Every fourth page was reached by a campaign,
// with parameters that minimisation keeps and others that it drops.
var actions = func() []action {
	queries := []string{
		"", "", "", "?utm_source=newsletter&utm_medium=email&utm_campaign=spring-sale&utm_content=hero&recipient=48151623",
		"?ref=menu&sort=price", "", "?utm_source=google&utm_medium=cpc&utm_campaign=brand&gclid=EAIaIQobChMIx5Tq-", "?page=2",
	}
	referrers := []string{"https://www.google.com/", "", "https://shop.example/", "https://mail.example/inbox?msg=77", "https://shop.example/shoes", "", "https://www.facebook.com/", "https://shop.example/cart"}
	var all []action
	for i := range 16 {
		all = append(all, action{
			kind: "page", path: fmt.Sprintf("/%s/%d-%s", [...]string{"shoes", "coats", "blog", "help"}[i%4], 1000+37*i, [...]string{"red-runner", "winter-parka", "how-to-choose-a-size", "returns"}[i%4]),
			title: fmt.Sprintf("%s no. %d | Shop", [...]string{"Red runner", "Winter parka", "How to choose a size", "Returns"}[i%4], i),
			query: queries[i%len(queries)], referrer: referrers[i%len(referrers)],
		})
	}
	event := func(kind, name, properties string) {
		n := len(all)
		all = append(all, action{kind: kind, name: name, path: fmt.Sprintf("/shoes/%d-red-runner", 1000+37*n), title: "Red runner | Shop", referrer: referrers[n%len(referrers)], properties: properties})
	}
	event("event", "Added to cart", `{"sku":"RS-42","price":129.9,"currency":"PLN","quantity":1}`)
	event("event", "Video played", `{"video":"how-to","seconds":31,"muted":true}`)
	event("event", "Search", `{"phrase":"running shoes","results":48}`)
	event("event", "Order completed", `{"order":"2026-11873","revenue":289.8,"currency":"PLN","coupon":"SPRING","items":[{"sku":"RS-42","quantity":1},{"sku":"SO-7","quantity":2}]}`)
	event("click", "menu", `{"target":"nav > a:nth-child(3)","text":"Sale"}`)
	event("product", "view", `{"product_id":"RS-42","name":"Red runner","category":"shoes","price":129.9}`)
	event("form", "Newsletter", `{"form":"footer","fields":2}`)
	event("identify", "", "")
	return all
}()

// traits are what an identify tells. Bots and anonymous visitors tell nothing.
const traits = `{"first_name":"Ada","city":"Gdynia","plan":"gold","newsletter":true,"orders":7}`
