package spoor

import (
	"testing"

	"pgregory.net/rapid"
)

// Goal: every goal has a written form that reads as that goal.
// Method: texts of the characters that mean something, exact and prefixes.
func TestGoalIsWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := Goal{
			Dimension: DimPath, Text: rapid.StringMatching(`[/a;*\\:]{1,8}`).Draw(rt, "text"), Prefix: rapid.Bool().Draw(rt, "prefix"),
		}
		got, err := ParseGoal(g.String())
		got.Name = ""
		if err != nil || got != g {
			rt.Fatalf("%+v is written %s, which reads %+v, %v", g, g, got, err)
		}
	})
}
