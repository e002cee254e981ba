package spoor

// Dimension is what statistics are grouped by. A row of a day is one text of
// one dimension.
type Dimension byte

// The dimensions. They are stored: append, never renumber.
const (
	DimNone       Dimension = iota
	DimHour                 // local hour of the hit, "00" to "23"
	DimPath                 // of a page
	DimReferrer             // host
	DimChannel              // as Campaign.Channel
	DimSource               // utm_source
	DimCampaign             // utm_campaign
	DimCountry              // "PL"
	DimRegion               // "PL/Mazovia"
	DimCity                 // "PL/Mazovia/Warsaw"
	DimOS                   //
	DimBrowser              //
	DimDevice               // mobile, tablet, desktop, tv
	DimLanguage             // "pl-PL"
	DimResolution           // "1440x900"
	DimEvent                // name of an event
	DimScreen               // name of a screen
	DimTitle                // of a page
	DimMedium               // utm_medium
	DimTerm                 // utm_term
	DimContent              // utm_content
	DimOutbound             // url of a click that led to another site, without its query
	DimDownload             // url of a file that was clicked, without its query
	DimVariant              // "variant", or "experiment/variant", from the properties of a hit
	DimProperty             // "name=value" of a property that the app declares
	DimMeasure              // sum, least and greatest of a declared number: see Measure
	dimEnd
)

var dimensionNames = [dimEnd]string{
	"none", "hour", "path", "referrer", "channel", "source", "campaign", "country", "region", "city", "os", "browser",
	"device", "language", "resolution", "event", "screen", "title", "medium", "term", "content", "outbound", "download",
	"variant", "property", "measure",
}

// String gives the name used in the API, such as "path".
func (d Dimension) String() string {
	if d < dimEnd {
		return dimensionNames[d]
	}
	return "unknown"
}

// OfWayIn reports whether the dimension says how a visit was led here: only the
// hit that began the visit tells that.
func (d Dimension) OfWayIn() bool {
	switch d {
	case DimReferrer, DimChannel, DimSource, DimMedium, DimCampaign, DimTerm, DimContent:
		return true
	}
	return false
}

// ParseDimension is the reverse of String for the dimensions that can be asked
// for; ok is false for any other text.
func ParseDimension(name string) (d Dimension, ok bool) {
	for i, n := range dimensionNames {
		if n == name && i != 0 && Dimension(i) != DimMeasure {
			return Dimension(i), true
		}
	}
	return DimNone, false
}
