//! The words products are made of.

/// A latent topic: a corner of the shop that some customers like.
pub(crate) struct Topic {
    /// The category in the catalogue.
    pub(crate) name: &'static str,
    /// Things of this topic: name, Chinese name, price in cents.
    pub(crate) nouns: &'static [(&'static str, &'static str, i64)],
    /// Words that descriptions of this topic use.
    pub(crate) words: &'static [&'static str],
}

/// The number of topics, and the length of a taste.
pub(crate) const TOPIC_COUNT: usize = 8;

/// Materials and colours: name, Chinese name.
pub(crate) const STYLES: &[(&str, &str)] = &[
    ("Walnut", "胡桃木"),
    ("Ivory", "象牙白"),
    ("Sage", "鼠尾草绿"),
    ("Copper", "铜色"),
    ("Indigo", "靛蓝"),
    ("Rose", "玫瑰色"),
    ("Slate", "石板灰"),
    ("Honey", "蜜色"),
    ("Birch", "桦木"),
    ("Vintage", "复古"),
    ("Dotted", "波点"),
    ("Striped", "条纹"),
];

/// How many different products the words can name.
pub(crate) fn products_max() -> usize {
    TOPICS.iter().map(|topic| topic.nouns.len()).min().unwrap_or_default()
        * STYLES.len()
        * TOPICS.len()
}

/// Every topic.
pub(crate) const TOPICS: [Topic; TOPIC_COUNT] = [
    Topic {
        name: "kitchen",
        nouns: &[
            ("Tea Tray", "茶盘", 1295),
            ("Cake Stand", "蛋糕架", 1695),
            ("Mixing Bowl", "搅拌碗", 895),
            ("Recipe Tin", "食谱盒", 595),
            ("Spice Jar", "香料罐", 325),
            ("Bread Board", "面包板", 1150),
            ("Egg Cup", "蛋杯", 210),
            ("Milk Jug", "奶壶", 495),
            ("Pie Dish", "派盘", 750),
        ],
        words: &["baking", "cooking", "oven", "recipes", "breakfast", "pantry"],
    },
    Topic {
        name: "garden",
        nouns: &[
            ("Plant Pot", "花盆", 495),
            ("Watering Can", "浇水壶", 1250),
            ("Bird Feeder", "喂鸟器", 850),
            ("Seed Box", "种子盒", 650),
            ("Herb Marker", "香草标签", 165),
            ("Garden Lantern", "花园提灯", 1495),
            ("Hand Trowel", "手铲", 725),
            ("Wind Chime", "风铃", 595),
            ("Flower Crate", "花箱", 1095),
        ],
        words: &["plants", "soil", "balcony", "flowers", "seedlings", "outdoors"],
    },
    Topic {
        name: "candlelight",
        nouns: &[
            ("T-Light Holder", "烛台", 295),
            ("Scented Candle", "香薰蜡烛", 850),
            ("Candle Plate", "蜡烛托盘", 395),
            ("Fairy Lights", "串灯", 1295),
            ("Glass Lantern", "玻璃灯笼", 1595),
            ("Wax Melt", "融蜡", 255),
            ("Star Lamp", "星灯", 1895),
            ("Incense Dish", "香碟", 345),
            ("Candle Snuffer", "熄烛器", 455),
        ],
        words: &["glow", "scent", "flame", "evening", "wax", "lantern"],
    },
    Topic {
        name: "stationery",
        nouns: &[
            ("Notebook", "笔记本", 395),
            ("Gift Wrap", "包装纸", 125),
            ("Pencil Case", "笔袋", 445),
            ("Letter Set", "信纸套装", 625),
            ("Desk Calendar", "台历", 795),
            ("Sticker Sheet", "贴纸", 85),
            ("Rubber Stamp", "橡皮章", 350),
            ("Washi Tape", "和纸胶带", 195),
            ("Photo Album", "相册", 1350),
        ],
        words: &["paper", "writing", "letters", "desk", "ink", "craft"],
    },
    Topic {
        name: "toys",
        nouns: &[
            ("Jigsaw Puzzle", "拼图", 995),
            ("Spinning Top", "陀螺", 265),
            ("Doll House", "娃娃屋", 2495),
            ("Skipping Rope", "跳绳", 375),
            ("Building Blocks", "积木", 1450),
            ("Rag Bunny", "布兔子", 850),
            ("Paint Set", "颜料套装", 695),
            ("Toy Drum", "玩具鼓", 1150),
            ("Card Game", "纸牌", 495),
        ],
        words: &["children", "play", "imagination", "birthday", "playroom", "games"],
    },
    Topic {
        name: "textiles",
        nouns: &[
            ("Cushion Cover", "靠垫套", 1095),
            ("Bed Throw", "床毯", 2650),
            ("Tea Towel", "茶巾", 425),
            ("Table Runner", "桌旗", 1350),
            ("Wool Blanket", "羊毛毯", 2995),
            ("Patchwork Quilt", "拼布被", 3450),
            ("Linen Napkin", "亚麻餐巾", 255),
            ("Door Stop", "门挡", 895),
            ("Hot Water Bottle", "热水袋", 695),
        ],
        words: &["cotton", "woven", "soft", "sofa", "stitching", "fabric"],
    },
    Topic {
        name: "bath",
        nouns: &[
            ("Soap Dish", "皂碟", 445),
            ("Bath Salts", "浴盐", 625),
            ("Hand Cream", "护手霜", 550),
            ("Towel Set", "毛巾套装", 1995),
            ("Body Brush", "沐浴刷", 725),
            ("Shower Cap", "浴帽", 295),
            ("Lavender Bag", "薰衣草包", 265),
            ("Sea Sponge", "海绵", 385),
            ("Wash Bag", "洗漱包", 1150),
        ],
        words: &["bathing", "skin", "lavender", "spa", "fragrance", "foam"],
    },
    Topic {
        name: "travel",
        nouns: &[
            ("Lunch Box", "午餐盒", 795),
            ("Shopper Bag", "购物袋", 395),
            ("Drink Flask", "保温杯", 1250),
            ("Picnic Basket", "野餐篮", 2995),
            ("Passport Cover", "护照夹", 650),
            ("Luggage Tag", "行李牌", 245),
            ("Folding Umbrella", "折叠伞", 1095),
            ("Travel Pouch", "旅行袋", 525),
            ("Eye Mask", "眼罩", 355),
        ],
        words: &["journey", "commute", "picnic", "outing", "holiday", "suitcase"],
    },
];

/// Given names of customers.
pub(crate) const GIVEN_NAMES: &[&str] = &[
    "Ada", "Ben", "Clara", "David", "Elena", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kofi",
    "Lena", "Mei", "Nora", "Omar", "Petra", "Quinn", "Rosa", "Samir", "Tara", "Uma", "Victor",
    "Wei", "Yusuf", "Zoe", "小雨", "子涵", "浩然", "欣怡", "建国",
];

/// Family names of customers.
pub(crate) const FAMILY_NAMES: &[&str] = &[
    "Abbott", "Brandt", "Costa", "Dubois", "Evans", "Fischer", "García", "Hughes", "Ivanova",
    "Jensen", "Kowalski", "Li", "Moreau", "Nakamura", "O'Brien", "Patel", "Rossi", "Schmidt",
    "Taylor", "Wang", "Young", "Zhang",
];

/// Where customers live: city, country, relative frequency.
pub(crate) const CITIES: &[(&str, &str, f64)] = &[
    ("London", "United Kingdom", 9.0),
    ("Manchester", "United Kingdom", 5.0),
    ("Leeds", "United Kingdom", 4.0),
    ("Edinburgh", "United Kingdom", 4.0),
    ("Berlin", "Germany", 2.0),
    ("Hamburg", "Germany", 1.0),
    ("Lyon", "France", 2.0),
    ("Madrid", "Spain", 1.0),
    ("Dublin", "EIRE", 2.0),
    ("Utrecht", "Netherlands", 1.0),
];
